// Package nft keeps a [firewall.Ruleset] in the Linux kernel: one nftables table,
// policy-routing rules and routes. It also asks the kernel where a packet goes
// ([Firewall.Lookup]), and makes the few settings that routing needs
// ([Firewall.SetReversePath], [Firewall.SetForwarding]).
//
// # What holds
//
//   - [Firewall.Apply] makes the kernel have exactly the ruleset, and sends only
//     what differs. If nothing does, nothing is sent.
//   - A transaction that fails changes nothing. Elements of sets change alone, in
//     one; any other difference replaces the whole table in one. On Linux 6.18 (measured)
//     packets meet new rules some microseconds before the elements of new sets, so
//     a second table of the same content, with _next in its name, is there while a
//     table is replaced. Packets see the old, the new, or both, never neither.
//   - Every transaction names the generation of nftables that it was made for, and
//     the kernel refuses it if that has passed. So what is known about the table
//     is known as long as the generation stays, without reading it; if somebody
//     committed anything, it is read and compared by the handles of its chains,
//     rules and sets, and by all elements.
//   - Unreachable routes and the table come first, then rules and the tunnel's
//     routes; removal is the other way round. At any instant packets for the mesh
//     either have all of the way or are refused. What changed numbers leave behind
//     goes after the new is in place.
//   - Routes by an interface that does not exist, or is down, are left out, and
//     Changed receives when it comes. Those that are unreachable stay.
//
// # Ownership
//
// Nothing is touched but the table, known by its comment: "wirespan" and the name
// of the tunnel's interface, by which agents on one host tell theirs apart; rules
// that equal those of a ruleset, or share priority, table and protocol static with
// one; and in our routing table routes of protocol static that are unreachable or
// lead to the tunnel without a gateway; in main only the ruleset's own. Anything
// else in our places is a conflict: Apply says by which setting to avoid it, before
// it changes anything, and Remove leaves it. Where the table is another agent's,
// so are rules and routes with the ruleset's numbers. A process finds what an
// earlier one left, and goes on with the routes but makes the table anew.
//
// A Firewall belongs to the network namespace of the thread that called Open. It
// keeps the rulesets that it is given: they must not change any more. Run owns
// the goroutines, and Close what Open opened; neither changes the kernel.
//
// # Limits
//
// All of it needs CAP_NET_ADMIN. nf_tables with family inet, sets with intervals,
// and the modules of what the ruleset uses must be there. Before Linux 5.10, where
// tables have no comment, one is ours if all of its chains and sets are named as in
// the ruleset, be it another agent's. Whoever rewrites the table continually is
// answered by one repair per Apply, not fought.
//
// Of google/nftables only package expr is used: its connection can neither mark
// a table as ours, nor see another's owner, nor tie a transaction to a generation,
// nor see handles, and it asks for more answers than the receive buffer holds.
package nft
