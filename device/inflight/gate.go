package inflight

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/mesh"
)

// maxInFlight is how many packets may be in flight, in each direction, when
// another batch is admitted. It bounds memory and queueing delay, and keeps the
// buffers in use few enough to stay in the CPU's caches. With that batch, they are as
// many as upstream keeps for a peer without a session.
const maxInFlight = wireguard.QueueStagedSize - 1

// gate counts the packets inside the device. Outbound flows are destination
// addresses, inbound ones are sessions.
type gate struct {
	seed    maphash.Seed // of the hash from destinations to slots
	out, in window
	// sessions are the receiver indexes of sessions from which packets were
	// decrypted, by slot (0: none). Only their packets count inbound, since anyone
	// can send datagrams with any index.
	sessions [numSlots]uint32 // guarded by in.mu
}

func newGate(limit int) *gate {
	return &gate{
		seed: maphash.MakeSeed(),
		out:  window{limit: limit, stallTime: outboundStallTime},
		in:   window{limit: limit, stallTime: inboundStallTime},
	}
}

// Between returns the two sides of a gate around a device. The device uses them in
// place of t and b.
func Between(t tun.Device, b conn.Bind) (*TUN, *Bind) { return newGate(maxInFlight).sides(t, b) }

func (g *gate) sides(t tun.Device, b conn.Bind) (*TUN, *Bind) {
	return &TUN{Device: t, gate: g, room: g.out.addWaiter(), timer: time.NewTimer(0)}, &Bind{Bind: b, gate: g, answers: holder{signal: mesh.NewSignal()}}
}

// admitOutbound tags packets from the data plane, and drops (size 0) those that
// the window does not admit. It returns how many packets it admitted, and how many bytes
// that may come from a standing queue.
func (g *gate) admitOutbound(bufs [][]byte, sizes []int, offset int, now time.Time) (packets, total int) {
	g.out.mu.Lock()
	defer g.out.mu.Unlock()
	var last []byte // destination of the packet before: segments of a super-packet share it
	var slot uint32
	for i, size := range sizes {
		to := destination(bufs[i][offset : offset+size])
		space := tagSpace(bufs[i], size)
		if to == nil || space == nil {
			continue
		}
		if !bytes.Equal(to, last) {
			last, slot = to, uint32(maphash.Bytes(g.seed, to))%numSlots
		}
		t, ok := g.out.admit(slot, now)
		if !ok {
			sizes[i] = 0
			continue
		}
		t.put(space)
		packets, total = packets+1, total+size
	}
	if now.Before(g.out.patience) {
		total = 0
	}
	return packets, total
}

// destination returns a packet's destination address, or nil if it is too short.
func destination(packet []byte) []byte {
	switch {
	case len(packet) >= ipv4.HeaderLen && packet[0]>>4 == 4:
		return packet[wireguard.IPv4offsetDst : wireguard.IPv4offsetDst+4]
	case len(packet) >= ipv6.HeaderLen && packet[0]>>4 == 6:
		return packet[wireguard.IPv6offsetDst : wireguard.IPv6offsetDst+16]
	}
	return nil
}

// ackOutbound acknowledges encrypted packets that have left.
func (g *gate) ackOutbound(bufs [][]byte) {
	now := time.Now()
	g.out.mu.Lock()
	defer g.out.mu.Unlock()
	for _, b := range bufs {
		if len(b) > encryptedSize && b[0] == wireguard.MessageTransportType {
			g.out.acknowledge(readTag(tagSpace(b, len(b)-encryptedSize)), now)
		}
	}
	g.out.wake()
}

// admitInbound tags datagrams of sessions that have brought packets before.
func (g *gate) admitInbound(bufs [][]byte, sizes []int) {
	now := time.Now()
	g.in.mu.Lock()
	defer g.in.mu.Unlock()
	for i, size := range sizes {
		if size <= encryptedSize || bufs[i][0] != wireguard.MessageTransportType {
			continue
		}
		space := tagSpace(bufs[i], size-encryptedSize)
		if space == nil {
			continue
		}
		t := noTag
		index := receiver(bufs[i])
		if slot := index % numSlots; index != 0 && g.sessions[slot] == index {
			if admitted, ok := g.in.admit(slot, now); ok {
				t = admitted
			}
		}
		t.put(space)
	}
}

// receiver returns the receiver index of a transport message.
func receiver(msg []byte) uint32 {
	return binary.LittleEndian.Uint32(msg[wireguard.MessageTransportOffsetReceiver:])
}

// newestTags returns the tags to acknowledge once the packets in bufs, which
// are about to leave the device, were written.
//
// The packets are all of one peer and in order, so the last packet of a session
// stands for all of that session. A peer has two sessions in use at most. A last
// packet without a tag of its session, as from a sender that pads in another way,
// stands for all packets of the session that were admitted so far.
func (g *gate) newestTags(bufs [][]byte, offset int) (newest [2]tag) {
	index, found := uint32(0), 0
	newest = [2]tag{noTag, noTag}
	g.in.mu.Lock()
	defer g.in.mu.Unlock()
	for i := len(bufs) - 1; i >= 0; i-- {
		b := bufs[i]
		if found > 0 && receiver(b) == index {
			continue
		}
		index = receiver(b)
		slot := index % numSlots
		g.sessions[slot] = index
		newest[found] = readTag(tagSpace(b, len(b)-offset))
		if newest[found].slot != slot {
			newest[found] = tag{slot, g.in.slots[slot].next - 1}
		}
		if found++; found == len(newest) {
			break
		}
	}
	return newest
}

// ackInbound acknowledges the tags that newestTags returned.
func (g *gate) ackInbound(newest [2]tag) {
	now := time.Now()
	g.in.mu.Lock()
	defer g.in.mu.Unlock()
	for _, t := range newest {
		g.in.acknowledge(t, now)
	}
	g.in.wake()
}
