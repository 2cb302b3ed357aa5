// Package mesh decides what a node's tunnels should look like.
//
// It reads no clock, opens no socket and starts no goroutine: [Decide] maps
// what is known at one moment ([Input]) to everything that should be true
// ([Plan]). Packages discovery, device and firewall do the I/O; package
// mesh/agent joins them.
//
// The rules are KubeSpan's (Talos Linux), so that a Talos cluster and ordinary
// hosts can share one mesh: identities and addresses, the local affiliate,
// peer specs with overlap resolution, peer state, endpoint choice, harvested
// endpoints and members. Where they differ from Talos, the comment says why.
//
// Invariants: equal inputs give equal plans (slices are sorted or keep input
// order); no allowed IP belongs to two peers; this node's own address is never
// routed to a peer. Everything in an [Affiliate] is untrusted: sizes and counts
// are bounded here and in package discovery, never assumed.
//
// Ownership: slices in a Plan are fresh and belong to the caller; an Input is
// only read.
package mesh
