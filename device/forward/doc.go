// Package forward passes connections on between this host and the mesh: TCP, UDP and unix
// sockets, to programs that know nothing of either side.
//
// A [Forwarder] runs a set of forwards. One of kind [Local] listens on this host and leads
// to a node; one of kind [Mesh] listens on the mesh address and leads to a program on this
// host, or one that this host reaches. The package knows neither the data plane nor the
// configuration: it declares [Network] and [Host], and a [Spec] is plain.
//
// Changes. Set takes the whole desired set. A forward whose Spec stays the same is not
// touched. One that is gone stops to listen, and its connections are reset: what the
// configuration does not allow any more ends. Reset opens the listeners on the mesh anew,
// after the data plane was replaced. A listener that can't be opened is tried again with
// backoff, and Status says why.
//
// TCP. Half-close and reset are carried through (package splice). A connection that can't
// be passed on is reset: because its peer is not allowed, there are too many, or its target
// can't be reached. A target may be told the peer's address by a header of the PROXY
// protocol, version 2.
//
// UDP. Each client address has an association with a socket of its own towards the target,
// so datagrams that the target sends without being asked reach the client as long as the
// association lives. It ends when nothing passed in either direction for a while. A
// datagram is never waited for: one that does not fit is lost, as in any network.
//
// Limits, per forward: connections and associations, and those of them that wait for their
// target. Beyond these, connections are reset. A new UDP client takes the place of the
// association that has been idle longest, if that was idle for 10 s; otherwise its
// datagrams are dropped. Everything refused is counted.
//
// Replies to UDP come from the address that the socket is bound to. If that stands for all
// addresses, the kernel chooses: on a host with several, that need not be the one to which
// the client sent.
//
// Ownership: Run starts all goroutines, and returns when they have ended.
package forward
