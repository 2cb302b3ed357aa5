// Package clamp makes packets fit paths that are narrower than the tunnel's MTU. A [TUN]
// stands between a data plane and the WireGuard device. Once it has a [Table] with limits,
// it does three things to packets of limited networks:
//
//   - In SYN packets, both ways, it lowers the announced segment size (MSS). So neither side
//     of a new connection sends larger packets.
//   - Outward, it cuts the packets of connections that began before into several. To both
//     ends that looks as if the sender had sent smaller segments. ICMP messages could tell
//     the sender as well, but Linux does not believe in IPv6 paths below 1280 bytes, and
//     hosts behind a gateway may drop such messages.
//   - Of other outward packets that are too large, it tells the sender by ICMP where that helps.
//     They pass as they are, and may be fragmented outside the tunnel.
//
// Limits: only TCP directly after an IPv4 header, or an IPv6 header without extension
// headers, is clamped and cut.
//
// Invariants: packets of a flow keep their order. Without a table, a batch costs one atomic
// load. Nothing allocates per packet.
//
// Ownership: no goroutine. Read belongs to one goroutine at a time; all else may be called
// concurrently. A Table must not change once it was handed over.
package clamp
