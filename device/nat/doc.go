// Package nat learns by STUN how the NATs in front of a UDP socket map its port, and keeps
// the mapping alive.
//
// A [Prober] sends binding requests by the socket that it is given, and is handed the STUN
// messages that come in there. So the mapped address is that of the socket: of WireGuard's
// port, for a device.
//
// A server's word is untrusted. An answer counts only with the random id of a request that
// is under way, and from the address that was asked; it can make this node announce a wrong
// address of its own, and nothing else.
//
// Which mapped addresses are worth announcing: those that do not depend on whom the socket
// sends to. If two servers see different ports at one address, the NAT is symmetric, and
// only a port that is the socket's own stays.
//
// Limits: at most 16 addresses of servers, 50 requests/s, and retransmission as RFC 8489
// says. Behind a NAT one server per IP version is asked every 25 s; otherwise each is every
// 5 min, and after a change of the host's addresses, routes or links, or of the path to a
// peer: a NAT that has started anew may have cut it.
//
// Ownership: Run owns all goroutines. The other methods may be called concurrently. No lock
// is held while Send is called.
package nat
