// Package bind is the UDP side of a WireGuard device: a conn.Bind over the
// upstream one that tells when handshake messages arrive, that works without
// the right to mark sockets, and that keeps source addresses honest.
//
// Sticky sources: a reply leaves from the address and interface at which the
// peer's packet arrived. Upstream forgets a source that no longer fits when
// routes change, but only for its own bind type and only for IPv4. This bind
// does it for both families: after a change of routes or addresses the source
// of each endpoint is checked against the routing table before its next use,
// and dropped if packets to the peer would now leave by another interface.
// Without a netlink socket (a sandbox) a source is dropped only when a send
// with it is refused.
//
// Limits: Linux only. Where the kernel coalesces received datagrams (UDP GRO,
// Linux 5.12 and later), upstream loses the source, and the kernel's routes
// choose it for every packet. Routes are looked at no more than once a second.
//
// Ownership: Open starts one goroutine and Close ends it; endpoints are never
// changed once handed out, so concurrent sends need no lock.
package bind
