// Package server is the server half of a TURN relay (RFC 8656) for the members of a mesh, on
// github.com/pion/turn.
//
// pion answers requests: nonces, credentials, allocations, permissions, channels and their
// lifetimes. Data does not pass through it. A [Server] takes channel data and indications out of
// what clients send, and reads the relayed sockets itself, so that each packet is checked here,
// by address and port, and nothing is allocated for it.
//
// Whom it serves: members, as Authorize says, with credentials of package relay that are valid by
// this host's clock. Whom it reaches: public addresses. On its own host that is live
// allocations and the WireGuard port alone; never loopback, link-local, multicast or private
// addresses, nor those that stand for such. Whom it lets in: permitted peers; and from anyone else
// nothing but an initiation of a handshake whose first MAC is made with the public key of the
// allocation's owner, so that a peer that has moved can be answered.
//
// Credentials are valid by this host's clock. An answer that asks for them tells its time, in an
// attribute of our own that other clients skip, so that a client whose clock is wrong can make
// some that are valid. Whoever changes that time on the way gets credentials of another hour, and
// could as well relay those of now.
//
// What is bounded: see [Limits]. Requests that are smaller than the answer which asks for
// credentials are answered at a bounded rate, so that the server is no amplifier.
//
// Run owns the goroutines, pion's included, and closes the sockets and listeners that it was
// given. A relayed packet is ciphertext of WireGuard, and is never looked into further.
package server
