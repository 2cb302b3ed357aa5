// Package inflight bounds the packets that are in flight inside a WireGuard
// device, between its data plane and its UDP socket, in each direction.
//
// Upstream's device takes any number of packets into its queues. [Between] puts
// a gate around it, with one side at the data plane and one at the socket:
//
//	             TUN                        Bind
//	data plane → admit   →  upstream's  →   acknowledge → UDP socket
//	data plane ← acknowledge ←  device  ←   admit       ← UDP socket
//
// Where packets enter, the gate waits while more than a limit are in flight, and
// tags each packet that it admits with its flow and a sequence number. Where they
// leave, it reads the tag. As in TCP, an acknowledgement is cumulative: it stands
// for all earlier packets of the flow. So the count of packets that were lost inside
// the device is corrected by the next packet of the flow that gets through.
//
// A flow from which nothing leaves for a while has stalled: its packets wait in
// the device for a session, or were lost there. They no longer count, and few
// more are admitted until one gets through. Waiting for room therefore always
// ends.
//
// Beside that, a CoDel signals congestion while a queue stands in front of the
// tunnel, and a limit keeps floods of handshake messages out of the device.
//
// Limits: a flow is a slot of a hash table with 1,024 slots, so flows that share a
// slot stall together. A packet whose buffer has no room for a tag is passed on
// and does not count.
//
// Invariants: the order of packets is kept. Nothing allocates per packet. The
// tag is written only to bytes of the buffer that no form of the packet reaches.
//
// Ownership: no goroutine of its own. TUN.Read, TUN.Write and each function that
// Bind.Open returns belong to one goroutine at a time; the rest may be called
// concurrently. Closing either side closes what is behind it.
package inflight
