// Package firewall compiles a node's policy for routing and filtering ([Policy])
// into what the kernel must have for it ([Ruleset]): one nftables table,
// policy-routing rules and routes. It also answers without a kernel:
// [Policy.Explain] says where a packet goes and why, and a [Matcher] filters for
// the netstack as the ingress chain does for the TUN.
//
// It does no I/O and reads no clock. Package firewall/nft applies rulesets.
//
// # The packet's path
//
// M is the mark of packets that belong into the tunnel. E is the mark of the
// tunnel's own encrypted packets and of control traffic. Chains are in brackets.
//
//	 from the tunnel,           from a local process
//	 from a link                        │
//	      │                       first route look-up (no mark yet)
//	[entering] from the tunnel: M
//	      │                             │
//	[preraw] the cluster's              │
//	 /64 from a link: drop        [outgoing] E, lo, neighbour discovery: unchanged
//	      │                        reply to the tunnel: M
//	[prerouting]                   to routed4/6: M
//	 E: unchanged                       │
//	 from the tunnel: clamp,      changed mark: second route look-up
//	  mark the connection               │
//	 reply to the tunnel: M             │
//	 to routed4/6: M, others not        │
//	      │                             │
//	 route look-up: local, M → table 180, else main
//	      │              │              │
//	[input]          [forward]          │
//	 from the tunnel: from the tunnel:  │
//	 [ingress]        [ingress]         │
//	      │              └──────┬───────┘
//	local process         [guard] E, lo, neighbour discovery: pass
//	                       into the tunnel: clamp, pass
//	                       M, or to the cluster's /64 or routed4/6: drop
//	                            │
//	                      [masquerading] from the tunnel to some networks
//	                            │
//	                      the tunnel, or a link
//
// From chain entering to prerouting, packets from the tunnel have the mark M, so that
// other programs' checks find the way back to their sources in table 180.
//
// Encrypted packets have the mark E. They take the path of local packets and reach
// a link: no route is looked up in table 180 for them, and guard lets them pass,
// whatever their destination. If another program changes the mark, they are known by
// their UDP port and by having a socket of this host: chain own, behind outgoing,
// gives the mark back, and guard lets them pass. Both count them.
//
// # What holds
//
//   - Equal policies give equal rulesets, and equal texts ([Ruleset.String], which
//     nft -f accepts).
//   - No packet for the cluster's /64 or a routed network leaves in the clear. If
//     the interface is gone, the unreachable routes refuse the packet. If other
//     routes win, guard drops it: chains match interfaces by name, so they work
//     whether the interface exists or not.
//   - Policies that differ only in networks give rulesets that differ only in
//     elements of sets ([Ruleset.SameShape]; [Diff] returns them). There are two
//     exceptions: the first or last source of a family in an ingress rule, and any
//     routed network of a family without a default route.
//   - Rules use connection tracking only with ReturnByTunnel, Masquerade, IPv6
//     networks behind this node, or an ingress that refuses something. Otherwise the
//     kernel need not track connections.
//
// # Kernels that lack something
//
// [Policy.Lacks] lists what the kernel does not have, and the ruleset does without.
// [Policy.Losses] says what that costs. Without nftables, or without chains of type
// route, nothing marks packets for the mesh. Then the rule leads all packets but
// encrypted ones to table 180, which has the routed networks, and behind each an
// unreachable route, but no default routes of its own. Without policy routing there
// is no table but main, which a kernel takes in place of any other: the networks are
// routed there. Ingress rules that cannot be enforced are an error
// ([Policy.Enforceable]).
//
// # Limits
//
// Compile expects a policy that [Policy.Check] accepts. Which peer may have which
// network is decided in package mesh. An accept verdict ends only the chain of this
// table: other tables on the host can still drop the packet. Hosts on a link can't
// use mesh addresses. Neither can containers on this node, unless they share its
// network namespace.
//
// The kernel's check of source addresses (rp_filter) is not part of a ruleset. Loose
// (2), it drops all IPv4 packets from an interface without an IPv4 address; strict
// (1), it drops all; only sources whose routes NoDefault4 adds pass.
//
// # Ownership
//
// Rulesets and matchers share the lists of their policy, and only read them. Do not
// change such a list, replace it. All values may be read concurrently.
package firewall
