// Package bind is the UDP side of a WireGuard device: a conn.Bind for Linux
// that moves datagrams in whole batches, that tells when handshake messages
// arrive, that works without the right to mark sockets, and that keeps source
// addresses honest.
//
// Sending. Consecutive datagrams of one size (the last may be smaller) leave as
// one message whose buffers the kernel gathers and segments (UDP_SEGMENT). What
// is refused is tried in a humbler way: without segmentation as long as the
// socket is open when the link can't do it (EIO, reported as
// conn.ErrUDPGSODisabled); one by one when segments are larger than the route
// takes whole (the kernel then fragments, and Fragmented tells for whom; bursts
// are tried again after a change of routes or links, or ten minutes); without source when
// the source is refused.
//
// Receiving. The kernel coalesces datagrams of one flow and size (UDP_GRO).
// Reading goes on until the socket is empty or the caller's buffers are filled;
// datagrams that no buffer is left for wait, in order, for the next call.
//
// Sticky sources. A reply leaves from the address and interface at which the
// peer's packet arrived, if that is where routes send it: that is looked up when
// an endpoint is first used and again after a change of routes or addresses.
// Otherwise the kernel chooses. Without a netlink socket (a sandbox) a source is
// given up only when a send with it is refused.
//
// Limits. On Linux before 5.12 nothing is coalesced on receipt, before 4.18
// nothing segmented on sending. Routes are looked at no more than once a second.
// A datagram larger than its buffer is dropped. Empty datagrams are
// skipped. On other systems the upstream bind does all the work, and packets
// stay unmarked.
//
// Ownership. Open starts one goroutine, which Close ends. Sends may run
// concurrently; each ReceiveFunc belongs to one goroutine at a time. Endpoints
// are shared: the receive side hands out one per source and destination, and
// nothing in them changes but whether the source is used.
package bind
