// Package firewall compiles what should be true of a node's traffic ([Policy])
// into what the kernel has to hold for it ([Ruleset]): one nftables table,
// policy-routing rules and routes. It also answers for them without a kernel:
// [Policy.Explain] says where a packet goes and why, and a [Matcher] filters for
// the netstack as the ingress chain does for the TUN.
//
// It does no I/O and reads no clock. Package firewall/nft applies rulesets.
//
// # The packet's way
//
// M is the mark of packets that belong into the tunnel, E that of the tunnel's
// own encrypted ones and of control traffic. Chains are in brackets.
//
//	 from the tunnel,           from a local process
//	 from a link                        │
//	      │                       first route look-up (no mark yet)
//	[preraw] the cluster's              │
//	 /64 from a link: drop        [outgoing] E, lo, neighbour discovery: as it is
//	      │                        reply to the tunnel: M
//	[prerouting]                   to routed4/6: M
//	 E: as it is                        │
//	 from the tunnel: clamp,      changed mark: second route look-up
//	  note that on the                  │
//	  connection                        │
//	 reply to the tunnel: M             │
//	 to routed4/6: M                    │
//	      │                             │
//	 route look-up: local, M → table 180, else main
//	      │              │              │
//	[input]          [forward]          │
//	 from the tunnel: from the tunnel:  │
//	 [ingress]        [ingress]         │
//	      │              └──────┬───────┘
//	local process         [guard] E, lo, neighbour discovery: pass
//	                       by the tunnel: clamp, pass
//	                       M, or to the cluster's /64 or routed4/6: drop
//	                            │
//	                      [masquerading] what came by the tunnel, to some networks
//	                            │
//	                      the tunnel, or a link
//
// The tunnel's daemon gives what it encrypts the mark E; that goes the way of
// local packets and reaches a link. No route is ever looked up in table 180
// for it, and guard lets it pass, whatever its destination.
//
// # What holds
//
//   - Equal policies give equal rulesets, and those equal texts
//     ([Ruleset.String], which nft -f reads).
//   - Nothing for the cluster's /64 or a routed network leaves in the clear. If
//     the interface is gone, the unreachable routes refuse it, and where other
//     routes win, guard drops it: chains name interfaces, so they don't care
//     whether there is one.
//   - Policies that differ only in networks give rulesets that differ only in
//     elements of sets ([Ruleset.SameShape]; [Diff] says which). Two things
//     change the shape: the first or last source of a family in an ingress rule,
//     and any routed network of a family without a default route.
//   - Without ReturnByTunnel, Masquerade, IPv6 networks behind this node and a
//     restricted ingress, no rule looks at connections: the kernel then need not
//     track them.
//
// # Limits
//
// A policy is trusted to be what [Policy.Check] accepts; who may have which
// network is decided in package mesh. Verdicts accept end only our own chain:
// other tables on the box still can drop. Hosts on a link can't use mesh
// addresses, and containers on this node are such hosts, unless they share its
// network namespace.
//
// The kernel's check of where packets come from (rp_filter) is not ours. At 2 it
// drops all IPv4 from an interface without an IPv4 address, at 1 always; only
// sources whose routes NoDefault4 adds pass.
//
// # Ownership
//
// Lists of a policy are only read, and its rulesets and matchers share them:
// replace such a list, don't change it. All values may be read concurrently.
package firewall
