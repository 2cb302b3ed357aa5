// Package proxy is a SOCKS5 and HTTP proxy. Both are served on one port: the first byte
// of a connection tells which it is. Where its clients get to is decided by the [Network]
// that it is given. The proxy resolves no name and knows no policy of its own, but one: it
// does not connect to itself.
//
// SOCKS5 (RFC 1928, 1929) has CONNECT and UDP ASSOCIATE. BIND is refused, and so is
// SOCKS4. HTTP (RFC 9110, 9112) has CONNECT and requests with an absolute http:// URL. A
// request in origin form is refused: it comes from a client that takes the proxy for a web
// server, such as a browser that was led here by DNS rebinding.
//
// Heads of HTTP requests are read strictly, because a lenient reader is what request
// smuggling needs (see checkHead). Requests and responses are streamed and not changed,
// except for the headers that belong to one hop. Neither Via nor X-Forwarded-For is added:
// servers withhold compression because of the first, and the second tells who asks.
//
// Limits:
//
//   - [Limits] bounds connections, UDP associations, and the time and size of handshakes.
//     A connection above the limit is closed as soon as it is accepted, so that its client
//     learns at once what a wait in the backlog would hide. Connections that have not
//     finished their handshake count.
//   - A connection that is tunnelled takes two goroutines and, while data moves, two
//     buffers of 32 KiB. A plain HTTP request takes about 60 KiB. An association takes four
//     goroutines and, while datagrams move, two buffers of 64 KiB (see [PacketConn]).
//   - To each destination at most four unused HTTP connections are kept, for 30 seconds, and
//     64 in all. They are shared among clients, so authentication that belongs to a
//     connection (NTLM) needs CONNECT. One that is used all the time stays although its
//     name means another address by now.
//   - After a chunked request, and after one that asks for another protocol, the client's
//     connection is closed.
//   - UDP fragments (FRAG other than 0) are dropped, as RFC 1928 permits. UDP ASSOCIATE
//     needs a listener on TCP.
//   - A client of plain HTTP that half-closes its connection is taken to be gone.
//   - An upgraded HTTP connection carries half-close through, but turns a reset into a close.
//
// Invariants: credentials of the proxy never leave it. A datagram reaches an association
// only from the address of its TCP client and, after the first one, only from the port of
// that one.
//
// Ownership: [Server.Serve] owns its goroutines and connections, and the listener. All have
// ended when it returns. Several calls may run at once, one per listener, and share limits.
package proxy
