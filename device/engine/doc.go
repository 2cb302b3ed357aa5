// Package engine carries out what device/path decides: it stands between upstream's
// device and the UDP sockets, sees the messages of both, and sends copies of handshake
// initiations to the candidates of a peer.
//
//	upstream's device ⇄ Bind (here) ⇄ UDP sockets
//	                     ⇅
//	                   Engine ── path.Peer of each peer
//	                     ⇅
//	                   Device: starts handshakes, sends echo requests
//
// Upstream's initiations leave by [Bind.Send] like its packets. The peer of one is found
// by its first MAC, which is keyed with the peer's public key. Its sender index, and those
// of responses, tell to which peer later packets belong. So for a packet the engine reads
// four bytes, and a clock per burst.
//
// Which path is in use is upstream's decision alone, by WireGuard's roaming: the engine
// never replaces the endpoint of a session. What it concludes from messages that are not
// authenticated yet only pauses its copies for a moment; a session counts when upstream has
// completed it (see [Engine.Handshake]).
//
// A response that follows an initiation to the same peer is held for 20 ms, and an initiation
// that follows a response is not sent, since upstream can't handle both at once (hold.go).
//
// Limits: of a cookie reply, the first for each initiation is passed up, since the device
// keeps the last one, which is valid for one source address.
//
// Ownership: Run owns the only goroutine. No lock is held while the Device handles a peer or
// sends; its MTU and Limit, and the signal of changes, are called with a lock held. Send, the
// receive functions and all methods may be called concurrently.
package engine
