// Package mesh decides what a node's tunnels should look like.
//
// It reads no clock, opens no socket and starts no goroutine: [Decide] maps
// what is known at one moment ([Input]) to everything that should be true
// ([Plan]). Packages discovery (the codec of affiliates) and firewall (the
// compiler of rules) are pure, too. Package device and the packages below
// discovery and firewall do the I/O; package mesh/agent joins them all.
//
// The rules are KubeSpan's (Talos Linux), so that a Talos cluster and ordinary
// hosts can share one mesh: identities and addresses, the local affiliate,
// peer specs with overlap resolution, peer state, endpoint choice, harvested
// endpoints and members. Where they differ from Talos, the comment says why.
//
// # Claims
//
// A peer claims the addresses and networks that it announces. Of two peers that
// claim an address the one that has it keeps it, and of two strangers the one with
// the lower node id gets it; broad networks such as
// default routes get only what no other peer claims. Some claims are refused:
// special-purpose prefixes ([SpecialPrefixes]) and addresses of this host always,
// broad and public networks and protected addresses (gateways, DNS and discovery servers)
// unless an [Allowance] names the peer. An unsigned node whose key differs from
// its [Pin] is quarantined: it is no peer, but what it had stays out of the clear.
//
// # Invariants
//
// Equal inputs give equal plans (slices are sorted or keep input order). No
// allowed IP belongs to two peers. This node's own address is never routed to a
// peer. Everything in an [Affiliate] is untrusted: sizes and counts are bounded
// here and in package discovery, never assumed.
//
// # Ownership
//
// Slices in a Plan are fresh and belong to the caller; an Input is only read.
package mesh
