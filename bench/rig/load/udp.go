package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	datagramBatch = 64 // datagrams per system call
	maxDatagram   = 64 << 10
	// After settleTime without a datagram no more are expected. The wait for that
	// takes at most settleMost.
	settleTime = 50 * time.Millisecond
	settleMost = 2 * time.Second
	// stuckTime is how long a batch of datagrams may wait for room in a socket.
	stuckTime = 10 * time.Millisecond
)

// datagrams counts the datagrams of one UDP test that arrived.
type datagrams struct {
	packets, bytes atomic.Uint64
	first, last    atomic.Int64 // Unix nanoseconds
}

func (d *datagrams) add(packets, bytes int, now int64) {
	d.first.CompareAndSwap(0, now)
	d.last.Store(now)
	d.bytes.Add(uint64(bytes))
	d.packets.Add(uint64(packets))
}

// settled waits until no more datagrams arrive and returns the result.
func (d *datagrams) settled(ctx context.Context) result {
	ctx, cancel := context.WithTimeout(ctx, settleMost)
	defer cancel()
	for before := d.packets.Load(); pause(ctx, settleTime); before = d.packets.Load() {
		if d.packets.Load() == before {
			break
		}
	}
	return result{
		Packets: d.packets.Load(), Bytes: d.bytes.Load(),
		Span: time.Duration(d.last.Load() - d.first.Load()),
	}
}

// receiveUDP counts datagrams until the socket closes.
func (s *Server) receiveUDP() error {
	next := single(s.UDP)
	if u, ok := s.UDP.(*net.UDPConn); ok {
		next = batched(u)
	}
	for {
		messages, err := next()
		if err != nil {
			return err
		}
		s.count(messages, time.Now().UnixNano())
	}
}

// count adds a batch to its sessions. Nearly always that is a single one.
func (s *Server) count(messages []ipv4.Message, now int64) {
	for len(messages) > 0 {
		id, n, bytes := idOf(messages[0]), 0, 0
		for n < len(messages) && idOf(messages[n]) == id {
			bytes += messages[n].N
			n++
		}
		messages = messages[n:]
		s.mu.Lock()
		ss := s.sessions[id]
		s.mu.Unlock()
		if ss != nil && ss.test.UDP {
			ss.udp.add(n, bytes, now)
		}
	}
}

// idOf returns the session of a datagram, or 0.
func idOf(m ipv4.Message) uint64 {
	if m.N < headerSize {
		return 0
	}
	return binary.BigEndian.Uint64(m.Buffers[0])
}

// batched returns a function that receives many datagrams per system call. Only
// their headers are valid: all share one buffer for the payload.
func batched(u *net.UDPConn) func() ([]ipv4.Message, error) {
	conn := ipv4.NewPacketConn(u)
	messages := newMessages(make([]byte, maxDatagram))
	return func() ([]ipv4.Message, error) {
		n, err := conn.ReadBatch(messages, 0)
		return messages[:max(n, 0)], err
	}
}

// single returns a function that receives one datagram per call.
func single(p net.PacketConn) func() ([]ipv4.Message, error) {
	messages := []ipv4.Message{{Buffers: [][]byte{make([]byte, maxDatagram)}}}
	return func() (_ []ipv4.Message, err error) {
		messages[0].N, _, err = p.ReadFrom(messages[0].Buffers[0])
		return messages, err
	}
}

// newMessages returns a batch in which each datagram has its own header, and all
// share the payload.
func newMessages(payload []byte) []ipv4.Message {
	messages := make([]ipv4.Message, datagramBatch)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, headerSize), payload}
	}
	return messages
}

// blast sends datagrams of a session for u.Duration, at u.Rate unless that is zero,
// and returns their number. A datagram that the stack has no room for counts as
// sent: it is lost like any other.
func blast(c net.Conn, session uint64, u UDP) (uint64, error) {
	if u.Payload < headerSize {
		return 0, fmt.Errorf("payload of %d bytes: smaller than the header of %d", u.Payload, headerSize)
	}
	messages := newMessages(make([]byte, u.Payload-headerSize))
	write := writer(c, u.Payload)
	start, sent := time.Now(), uint64(0)
	for {
		elapsed := time.Since(start)
		if elapsed >= u.Duration {
			return sent, nil
		}
		n := uint64(len(messages))
		if u.Rate > 0 {
			due := uint64(u.Rate / 8 / float64(u.Payload) * elapsed.Seconds())
			if due <= sent {
				time.Sleep(time.Duration(float64(u.Payload) * 8 / u.Rate * float64(time.Second)))
				continue
			}
			n = min(n, due-sent)
		}
		for i := range messages[:n] {
			header := messages[i].Buffers[0]
			binary.BigEndian.PutUint64(header, session)
			binary.BigEndian.PutUint64(header[8:], sent+uint64(i))
		}
		if err := write(messages[:n]); errors.Is(err, net.ErrClosed) {
			return sent, err
		}
		sent += n
	}
}

// writer returns a function that sends a batch in as few system calls as the
// connection allows.
func writer(c net.Conn, size int) func([]ipv4.Message) error {
	if u, ok := c.(*net.UDPConn); ok {
		conn := ipv4.NewPacketConn(u)
		return func(messages []ipv4.Message) error {
			for len(messages) > 0 {
				n, err := conn.WriteBatch(messages, 0)
				if err != nil {
					return err
				}
				messages = messages[n:]
			}
			return nil
		}
	}
	packet := make([]byte, size)
	return func(messages []ipv4.Message) error {
		// gVisor's sockets may miss that there is room again, and would wait for ever.
		_ = c.SetWriteDeadline(time.Now().Add(stuckTime))
		var failed error
		for i := range messages {
			copy(packet, messages[i].Buffers[0])
			if _, err := c.Write(packet); err != nil {
				failed = err
			}
		}
		return failed
	}
}
