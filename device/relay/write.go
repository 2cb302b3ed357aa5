package relay

import (
	"net/netip"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
)

// packet is a frame on its way to the server.
type packet struct {
	n int
	b [turn.MaxMessage]byte
}

// outcome is what became of a packet.
type outcome int

const (
	sent         outcome = iota
	noAddress            // there is no allocation
	noPermission         // the server does not relay to the peer
	lost                 // the connection is full, or the packet too large
)

// WriteTo sends a packet to a peer, and reports whether it was sent. It does not wait. It may be
// called by any goroutine, whether there is an address or not.
func (c *Client) WriteTo(b []byte, to netip.AddrPort) bool {
	return c.write([][]byte{b}, to) == sent
}

// write sends packets to a peer. The outcome is that of the last one.
func (c *Client) write(bufs [][]byte, to netip.AddrPort) outcome {
	s := c.ready.Load()
	if s == nil {
		c.count.noAddress.Add(uint64(len(bufs)))
		return noAddress
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	table := s.table.Load()
	via := table.channels[to]
	if via == nil && !s.permits(table, to) {
		c.count.noPermission.Add(uint64(len(bufs)))
		return noPermission
	}
	if via != nil && !via.active.Load() {
		via.active.Store(true)
	}
	if s.queue != nil {
		return s.writeStream(bufs, via, to)
	}
	return s.writeDatagrams(bufs, via, to)
}

// indicationTo makes an indication of a packet to a peer without a channel.
func (s *session) indicationTo(to netip.AddrPort, b, room []byte) []byte {
	m := turn.Begin(room, turn.Send, turn.Indication, s.indication)
	m.Peer(to)
	m.Data(b)
	return m.Finish()
}

// writeDatagrams sends frames in bursts.
func (s *session) writeDatagrams(bufs [][]byte, via *binding, to netip.AddrPort) outcome {
	c := s.c
	o := outgoing{s: s, run: c.runs.Get().(*burst.Run), last: lost}
	for _, b := range bufs {
		switch {
		case len(b) > MaxPacket:
			c.count.tooLarge.Add(1)
			o.last = lost
		case via != nil:
			room := o.next(turn.ChannelHeader+len(b), len(b))
			turn.PutChannelHeader(room, via.channel, len(b))
			copy(room[turn.ChannelHeader:], b)
		default:
			p := c.packets.Get().(*packet)
			m := s.indicationTo(to, b, p.b[:0])
			copy(o.next(len(m), len(b)), m)
			c.packets.Put(p)
		}
	}
	o.flush()
	c.runs.Put(o.run)
	return o.last
}

// outgoing is frames that leave in one burst.
type outgoing struct {
	s              *session
	run            *burst.Run
	packets, bytes int
	last           outcome
}

// next returns room for a frame of a packet of a size.
func (o *outgoing) next(frame, size int) []byte {
	room := o.run.Next(frame)
	if room == nil {
		o.flush()
		room = o.run.Next(frame)
	}
	o.packets++
	o.bytes += size
	return room
}

func (o *outgoing) flush() {
	if o.packets == 0 {
		return
	}
	n := &o.s.c.count
	if o.s.burst(o.run) == nil {
		o.last = sent
		n.sent.Add(uint64(o.packets))
		n.sentBytes.Add(uint64(o.bytes))
	} else {
		o.last = lost
		n.full.Add(uint64(o.packets))
	}
	o.packets, o.bytes = 0, 0
	o.run.Reset()
}

// burst sends a run to the server.
func (s *session) burst(run *burst.Run) error {
	if s.bursts != nil {
		return s.bursts.WriteBurst(run.Bytes, run.Size, netip.AddrPort{})
	}
	for b := run.Bytes; len(b) > 0; {
		var first []byte
		first, b = burst.Cut(b, run.Size)
		if _, err := s.conn.Write(first); err != nil {
			return err
		}
	}
	return nil
}

// writeStream queues frames for the stream.
func (s *session) writeStream(bufs [][]byte, via *binding, to netip.AddrPort) (last outcome) {
	n := &s.c.count
	for _, b := range bufs {
		if last = lost; len(b) > MaxPacket {
			n.tooLarge.Add(1)
			continue
		}
		p := s.c.packets.Get().(*packet)
		if via != nil {
			p.n = len(turn.AppendChannel(p.b[:0], via.channel, b, true))
		} else {
			p.n = len(s.indicationTo(to, b, p.b[:0]))
		}
		select {
		case s.queue <- p:
			last = sent
			n.sent.Add(1)
			n.sentBytes.Add(uint64(len(b)))
		default:
			s.c.packets.Put(p)
			n.full.Add(1)
		}
	}
	return last
}

// Sizes of what waits for a stream.
const (
	queueLength   = 256 // packets
	controlLength = 128 // requests: one for each peer, and some
	writeSize     = 16 << 10
)

// write writes queued packets to a stream, several at a time. Requests come first.
func (s *session) write() {
	buf := make([]byte, 0, writeSize)
	for {
		var p *packet
		select {
		case <-s.done:
			return
		case p = <-s.control:
		default:
			select {
			case <-s.done:
				return
			case p = <-s.control:
			case p = <-s.queue:
			}
		}
		buf = s.take(buf[:0], p)
		for more := true; more && len(buf)+turn.MaxMessage <= cap(buf); {
			select {
			case p = <-s.queue:
				buf = s.take(buf, p)
			default:
				more = false
			}
		}
		if _, err := s.conn.Write(buf); err != nil {
			s.fail(err)
			return
		}
	}
}

func (s *session) take(buf []byte, p *packet) []byte {
	buf = append(buf, p.b[:p.n]...)
	s.c.packets.Put(p)
	return buf
}
