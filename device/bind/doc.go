// Package bind is the UDP side of a WireGuard device on Linux: a conn.Bind that
// moves datagrams in whole batches, signals when handshake messages arrive, works
// without the right to mark sockets, and answers from the address at which a peer
// reached this host.
//
// Sending. Consecutive datagrams of one size (the last may be smaller) leave as one
// message, whose buffers the kernel gathers and segments (UDP_SEGMENT). When the
// kernel refuses something, the bind falls back:
//
//   - The link can't segment (EIO): no segmentation until the socket is opened
//     again. This is reported as conn.ErrUDPGSODisabled.
//   - Segments are larger than the route's MTU: the datagrams go one by one, and
//     the kernel fragments them. Fragmented returns the hosts concerned. Bursts are
//     tried again after a change of routes or links, or after ten minutes.
//   - The source is refused: the kernel chooses one.
//
// IPv4 datagrams carry no DF flag, alone or in a burst: routers fragment them.
//
// Receiving. The kernel coalesces datagrams of one flow and size (UDP_GRO). A
// receive function reads until the socket is empty or the caller's buffers are
// filled. Datagrams for which no buffer is left wait, in order, for the next call. After
// an error it opens the socket again, on the same port: at once, then every second. So
// only Close ends it.
//
// Sticky sources. A reply leaves from the address and interface at which the peer's
// packet arrived, if routes send it out by that interface. That is looked up when
// an endpoint is first used, and again after a change of routes or addresses.
// Otherwise the kernel chooses the source. Without a netlink socket (in a sandbox)
// a source is given up only when a send with it is refused.
//
// Limits. Linux before 5.12 coalesces nothing on receipt, Linux before 4.18
// segments nothing on sending. Routes are looked up again at most once a second. A
// datagram larger than its buffer is dropped, and an empty one is skipped. On other
// systems the upstream bind does all the work, and packets are not marked.
//
// Ownership. Open starts one goroutine, which Close ends. Sends may run
// concurrently; each ReceiveFunc belongs to one goroutine at a time. Endpoints are
// shared: the receive functions return one per source and destination. Only its
// source ever changes: whether it is used.
package bind
