// Package relay is the client half of a TURN relay (RFC 8656), and the credentials of both
// halves. Package server below it is the other half, package turn their messages.
//
// A [Client] keeps one relayed address on one server, over UDP, TCP or TLS, whatever the
// connection is that its Dial returns. Each allocation has a connection of its own, so that
// neither the server nor a NAT takes it for the one before. Client.Run owns its goroutines; a
// server that restarts, fails or refuses is asked again, with backoff.
//
// [Client.WriteTo] never waits: not for a transaction, and not for a connection that is full. It
// sends by a channel if one is bound, by an indication if the peer is permitted, and else drops
// and counts. [Client.SetPeers] names the peers for which permissions and channels are made
// ahead. A peer from which the server lets a packet in, though it was not named, gets a channel
// too, and may be answered at once.
//
// The client of pion/turn is not used: its WriteTo waits for the transaction of the first
// packet's permission, it binds channels only after data, and one allocation ends with its
// Client. Its message codec is not either: with package turn nothing is allocated per packet, and
// a build without the server needs nothing of pion's.
//
// A [Set] keeps as many addresses as are wished for, each on another relay: UDP first, TLS where
// that has no answer, by the proxy of the environment if there is one ([Access]). A relay that
// fails is replaced at once, and comes after the others for a minute. Behind TLS, UDP is tried
// again, ever more seldom. If it passes, its address takes the place of the other one, which is
// kept until no peer uses it.
//
// A [Bind] stands between a device's engine and its sockets. A peer that is reached by a relay is
// another [Endpoint] than the same peer directly, so answers return the way packets came. Packets
// to it leave by the relay's client; what comes by relays waits in a bounded queue for a receive
// function of its own, and is dropped and counted when that is full. Direct packets pass as they
// are. [Shared] is the part of the sockets that speaks TURN, for a server on WireGuard's port.
//
//	device/engine ⇄ Bind ⇄ device/bind (UDP sockets)
//	                 ⇅  ⇆ Shared ⇄ server
//	                Set ─ Client of each relay
//
// Limits: [MaxPeers] peers, [MaxPacket] bytes per packet, bounded queues towards a stream, towards
// the device and towards a server.
//
// Ownership: Client.Run and Set.Run own their goroutines, and a Bind has one while it is open.
package relay
