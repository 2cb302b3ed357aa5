// Package device embeds a userspace WireGuard device: it opens it on a data
// plane ([Interface]) and a UDP bind, applies whole sets of peers to it, reads
// their statistics, pings through it, and serves wg(8)'s configuration socket.
//
// The device itself holds the truth: Apply and Stats read it each time, so that
// what wg(8) or anyone else changed is seen, and mended by the next Apply. A
// peer that is as it should be is never touched, and keeps its session.
//
// Packets inside the device are bounded in number, in both directions; a flow
// that stands still there is held back, and a queue that stands in front of it is
// signalled to TCP, by ECN or by one lost packet at a time.
//
// Peers have their persistent keepalive only while they have a session. Without
// one, handshakes are started at the keepalive's pace instead, which costs no
// buffer. So what wg(8) shows as keepalive is off for a peer that is down.
//
// Limits: private and preshared keys pass through, and are neither kept nor
// shown; the device's own memory holds them, and so does the reply to a "get"
// on the configuration socket, which only its owner may open. At most 64 pings
// are under way at once.
//
// Ownership: Open takes over Interface and Bind, and Close ends them with all
// goroutines of this package. Upstream's crypto workers are told to end and do
// so by themselves a moment later. All methods may be called concurrently.
package device
