package server

import (
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
)

// outward collects what clients send to one peer, which leaves in one burst.
type outward struct {
	a   *allocation
	to  netip.AddrPort
	run *burst.Run
}

// add takes a packet that has passed all checks.
func (o *outward) add(a *allocation, data []byte, to netip.AddrPort) {
	if o.a != a || o.to != to {
		o.flush()
		o.a, o.to = a, to
	}
	room := o.run.Next(len(data))
	if room == nil {
		o.flush()
		room = o.run.Next(len(data))
	}
	copy(room, data)
}

// flush sends what was collected. What can't be sent is lost, as datagrams may be.
func (o *outward) flush() {
	if n := len(o.run.Bytes); n > 0 && o.a.socket.WriteBurst(o.run.Bytes, o.run.Size, o.to) == nil {
		o.a.usage.sent.Add(uint64(n))
	}
	o.run.Reset()
}

// writer sends frames to a client.
type writer interface {
	writeFrames(run *burst.Run, to netip.AddrPort)
	stream() bool // frames are padded
}

// inward relays what peers send to an allocation.
type inward struct {
	a       *allocation
	run     *burst.Run
	scratch []byte
}

// relay relays a burst of one peer.
func (in *inward) relay(b []byte, size int, from netip.AddrPort) {
	a, now := in.a, time.Now()
	client := *a.client.Load()
	a.mu.RLock()
	number, bound := a.peers[from]
	_, permitted := a.permitted[from.Addr()]
	a.mu.RUnlock()
	reached := a.front.s.allowsPort(from)
	for len(b) > 0 {
		var data []byte
		data, b = burst.Cut(b, size)
		if len(data) > relay.MaxPacket || !reached || !bound && !permitted && !a.admitStranger(data, from, now) || !a.admit(len(data), now) {
			a.usage.dropped.Add(1)
			continue
		}
		a.usage.received.Add(uint64(len(data)))
		if bound {
			in.channel(number, data, client)
		} else {
			in.indication(data, from, client)
		}
	}
	in.flush(client)
}

// channel adds data of a channel.
func (in *inward) channel(number uint16, data []byte, client netip.AddrPort) {
	size := turn.ChannelHeader + len(data)
	if in.a.writer.stream() {
		size = (size + 3) &^ 3
	}
	frame := in.next(size, client)
	turn.PutChannelHeader(frame, number, len(data))
	clear(frame[turn.ChannelHeader+copy(frame[turn.ChannelHeader:], data):])
}

// indication adds data of a peer that has no channel.
func (in *inward) indication(data []byte, from, client netip.AddrPort) {
	m := turn.Begin(in.scratch, turn.Data, turn.Indication, turn.ID{})
	m.Peer(from)
	m.Data(data)
	message := m.Finish()
	copy(in.next(len(message), client), message)
}

// next returns room for a frame.
func (in *inward) next(size int, client netip.AddrPort) []byte {
	room := in.run.Next(size)
	if room == nil {
		in.flush(client)
		room = in.run.Next(size)
	}
	return room
}

func (in *inward) flush(client netip.AddrPort) {
	if len(in.run.Bytes) > 0 {
		in.a.writer.writeFrames(in.run, client)
	}
	in.run.Reset()
}
