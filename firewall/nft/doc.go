// Package nft keeps a [firewall.Ruleset] in the Linux kernel: one nftables table,
// policy-routing rules, and routes. It also asks the kernel where a packet goes
// ([Firewall.Lookup]), and changes the few settings that routing needs
// ([Firewall.SetReversePath], [Firewall.SetForwarding]).
//
// # Parts
//
// A [Firewall] is made of parts that each own their state. [Firewall.Apply] and
// [Firewall.Remove] call them in order.
//
//	installed   which rulesets may be in the kernel, and so what is ours
//	table       the nftables table: snapshot, diff, transaction, ownership
//	routing     rules and routes
//	sysctls     rp_filter and forwarding
//	watcher     events of what others change
//
// # What holds
//
//   - [Firewall.Apply] makes the kernel have exactly the ruleset, and sends only
//     what differs. If nothing differs, it sends nothing.
//   - A transaction that fails changes nothing. If only elements of sets differ,
//     one transaction changes them. If anything else differs, one transaction
//     replaces the whole table. On Linux 6.18 (measured) packets meet the new rules
//     some microseconds before the elements of the new sets. Therefore an interim
//     table with the same rules and elements, with _next in its name, exists while
//     the table is replaced. Packets see the old table, the new one, or both, but
//     never neither.
//   - Every transaction names the generation of nftables that it was made for, and
//     the kernel refuses it in any other. While the generation stays the same, the
//     table is unchanged and need not be read. In a new generation it is read and
//     compared: chains, rules and sets by their handles, elements one by one.
//   - Unreachable routes and the table are added first, then the rules and the
//     routes through the tunnel; Remove goes the other way round. At any instant,
//     packets for the mesh either find the complete path or are refused. What
//     earlier numbers (marks, tables, priorities) left is removed after the new
//     ruleset is in place.
//   - Routes through an interface that does not exist or is down are left out, and
//     Changed receives when it comes up. The unreachable routes stay.
//
// # Ownership
//
// This package changes only what it owns:
//
//   - The table, if its comment is "wirespan" and the name of the tunnel's
//     interface. The name tells the tables of several agents on one host apart.
//   - Rules that equal those of a ruleset, and rules of protocol static with the
//     priority and table of one.
//   - Routes of protocol static in the ruleset's routing table that are unreachable,
//     or lead to the tunnel without a gateway. In main, only the ruleset's own
//     routes.
//
// Anything else in these places is a conflict. Apply returns an error that names
// the setting to avoid it, before it changes anything; Remove leaves it alone. If
// the table belongs to another agent, rules and routes with the ruleset's numbers
// belong to it, too. A process finds what an earlier one left: it keeps the rules
// and routes, and replaces the table.
//
// A Firewall belongs to the network namespace of the thread that called Open. It
// keeps the rulesets that it is given; they must not change any more. Run owns the
// goroutines, and Close closes what Open opened. Neither changes the kernel.
//
// # Limits
//
// All of it needs CAP_NET_ADMIN. [Firewall.ApplyPolicy] does without what the kernel
// lacks, which [Firewall.Probe] finds out by batches that the kernel checks and
// undoes. [Firewall.Apply] needs all that its ruleset has. What was lacking once is
// not asked for again.
//
// Tables have no comment before Linux 5.10. There, a table is ours if all its
// chains and sets have the names of the ruleset's, even if another agent created
// it. If another program rewrites the table continually, each Apply repairs it
// once.
//
// Of google/nftables only package expr is used. Its connection can't comment a
// table, show a table's owner, tie a transaction to a generation, or show handles,
// and it requests more acknowledgements than fit into the receive buffer.
package nft
