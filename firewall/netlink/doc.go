// Package netlink speaks two netlink protocols: nftables ([Nftables]) and rtnetlink
// ([RTNetlink]). It encodes requests, decodes answers and events, and exchanges them
// with the kernel.
//
// It decides nothing. Which tables, rules, routes and addresses should exist, and
// which program owns them, is up to the caller.
//
// # What holds
//
//   - No call waits for the kernel. The kernel handles a request while it is
//     sent, so the answers are in the receive buffer when sending returns. If they
//     are not, the call fails with an error.
//   - Decoders accept any input. They stop at the first malformed message or
//     attribute, and read a number that is too short as zero.
//   - A dump that other changes interrupted is repeated up to ten times, then
//     fails with [ErrInterrupted].
//   - Errors of the kernel unwrap to their errno, and quote the kernel's own
//     explanation if it gave one.
//
// # Limits
//
// Linux only. Of nftables: requests about family inet, transactions, and sets of
// address intervals. Of rtnetlink: interfaces that exist, their addresses, routes
// without gateways, and rules that select by mark. What else a route or rule has is not decoded; its field
// Extra says that there is more.
//
// # Ownership
//
// A socket belongs to the network namespace of the thread that opened it: see
// [InNamespace]. It must be closed, and is not safe for concurrent use. What a callback gets is valid
// until it returns.
package netlink
