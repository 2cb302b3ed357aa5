package device

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/wirespan/wirespan/device/engine"
	"github.com/wirespan/wirespan/device/offload"
)

const (
	maxPings    = 1024            // under way at once
	echoTime    = 2 * time.Second // how long an echo is waited for
	tokenSize   = 16              // random payload that identifies a ping, at the least
	pingSize    = tokenSize       // the payload of Ping
	icmpHeader  = 8
	protoICMP   = 1
	protoICMPv6 = 58
)

type token [tokenSize]byte

// pinger is an Interface that can ping: it injects echo requests into the tunnel
// and removes their replies from the packets that the device writes. While no ping
// is under way, that costs one atomic load per batch.
type pinger struct {
	Interface
	pending atomic.Int32 // len(pings)

	mu    sync.Mutex // guards pings
	pings map[token]pendingPing
}

// pendingPing is a ping that waits for its reply.
type pendingPing struct {
	to    netip.Addr
	id    [4]byte            // identifier and sequence number
	size  int                // of the payload
	reply func(at time.Time) // called once
}

func newPinger(i Interface) *pinger {
	return &pinger{Interface: i, pings: make(map[token]pendingPing)}
}

// Write passes on all packets but replies to our pings. It reorders bufs.
func (p *pinger) Write(bufs [][]byte, offset int) (int, error) {
	if p.pending.Load() == 0 {
		return p.Interface.Write(bufs, offset)
	}
	rest := bufs[:0]
	for _, b := range bufs {
		if !p.takeReply(b[offset:]) {
			rest = append(rest, b)
		}
	}
	if len(rest) == 0 {
		return len(bufs), nil
	}
	return p.Interface.Write(rest, offset)
}

// takeReply reports whether packet answers one of our pings, and completes that
// ping.
func (p *pinger) takeReply(packet []byte) bool {
	from, msg, ok := parseReply(packet)
	if !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := token(msg[icmpHeader:])
	ping, ok := p.pings[t]
	if !ok || ping.to != from || ping.id != [4]byte(msg[4:8]) || ping.size != len(msg)-icmpHeader {
		return false
	}
	delete(p.pings, t)
	p.pending.Add(-1)
	ping.reply(time.Now())
	return true
}

// parseReply returns sender and ICMP message of an echo reply. Of any other packet, of one
// with IP options or extension headers, and of one without room for a token, ok is false.
func parseReply(packet []byte) (from netip.Addr, msg []byte, ok bool) {
	switch {
	case len(packet) >= ipv6.HeaderLen+icmpHeader+tokenSize && packet[0]>>4 == 6 && packet[6] == protoICMPv6:
		from, msg = netip.AddrFrom16([16]byte(packet[8:24])), packet[ipv6.HeaderLen:]
		return from, msg, msg[0] == byte(ipv6.ICMPTypeEchoReply) && msg[1] == 0
	case len(packet) >= ipv4.HeaderLen+icmpHeader+tokenSize && packet[0] == 0x45 && packet[9] == protoICMP:
		from, msg = netip.AddrFrom4([4]byte(packet[12:16])), packet[ipv4.HeaderLen:]
		return from, msg, msg[0] == byte(ipv4.ICMPTypeEchoReply) && msg[1] == 0
	}
	return netip.Addr{}, nil, false
}

// Ping sends one ICMP echo request through the tunnel, waits for its reply until
// ctx ends, and returns the round-trip time. It needs no privileges, and the host's
// own firewall does not see its packets.
func (d *Device) Ping(ctx context.Context, addr netip.Addr) (time.Duration, error) {
	addr = addr.Unmap().WithZone("")
	rtt, err := d.tun.ping(ctx, addr, d.Done())
	if err != nil {
		return 0, fmt.Errorf("ping %s: %w", addr, err)
	}
	return rtt, nil
}

func (p *pinger) ping(ctx context.Context, to netip.Addr, stopped <-chan struct{}) (time.Duration, error) {
	reply := make(chan time.Time, 1)
	start := time.Now()
	t, err := p.request(to, pingSize, func(at time.Time) { reply <- at })
	if err != nil {
		return 0, err
	}
	defer p.end(t)
	select {
	case at := <-reply:
		return at.Sub(start), nil
	case <-stopped:
		return 0, errors.New("the device has stopped")
	case <-ctx.Done():
		return 0, fmt.Errorf("no reply: %w", ctx.Err())
	}
}

// echo sends an echo request, and calls done from another goroutine if it is answered soon.
func (p *pinger) echo(to netip.Addr, done func(rtt time.Duration)) error {
	start := time.Now()
	t, err := p.request(to, engine.EchoSize-ipv6.HeaderLen-icmpHeader, func(at time.Time) { go done(at.Sub(start)) })
	if err != nil {
		return err
	}
	time.AfterFunc(echoTime, func() { p.end(t) })
	return nil
}

// request sends an echo request with size bytes of payload. It calls reply if it is answered before end is called;
// reply must not block.
func (p *pinger) request(to netip.Addr, size int, reply func(at time.Time)) (token, error) {
	if !to.IsValid() {
		return token{}, errors.New("not an address")
	}
	from, err := p.Source(to)
	if err != nil {
		return token{}, err
	}
	if from == to {
		return token{}, errors.New("this is the node's own address")
	}
	ping := pendingPing{to: to, size: size, reply: reply}
	var t token
	_, _ = rand.Read(ping.id[:]) // never fails
	_, _ = rand.Read(t[:])
	if err := p.begin(t, ping); err != nil {
		return token{}, err
	}
	if err := p.Inject(echoRequest(from, to, ping.id, t, size)); err != nil {
		p.end(t)
		return token{}, err
	}
	return t, nil
}

func (p *pinger) begin(t token, ping pendingPing) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pings) == maxPings {
		return fmt.Errorf("%d pings are under way already", maxPings)
	}
	p.pings[t] = ping
	p.pending.Add(1)
	return nil
}

// end forgets an echo request.
func (p *pinger) end(t token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, waiting := p.pings[t]; waiting {
		delete(p.pings, t)
		p.pending.Add(-1)
	}
}

// echoRequest returns an ICMP echo request with size bytes of payload: the token, and zeros.
func echoRequest(from, to netip.Addr, id [4]byte, t token, size int) []byte {
	size += icmpHeader
	if to.Is4() {
		b := make([]byte, ipv4.HeaderLen+size)
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[6], b[8], b[9] = 0x40, 64, protoICMP // don't fragment, TTL
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
		binary.BigEndian.PutUint16(b[10:], ^offload.Fold(offload.Checksum(b[:ipv4.HeaderLen], 0)))
		fillICMP(b[ipv4.HeaderLen:], byte(ipv4.ICMPTypeEcho), 0, id, t)
		return b
	}
	b := make([]byte, ipv6.HeaderLen+size)
	b[0], b[6], b[7] = 0x60, protoICMPv6, 64
	binary.BigEndian.PutUint16(b[4:], uint16(size))
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	// The pseudo-header of RFC 8200 §8.1: addresses, length, next header.
	pseudo := offload.Checksum(b[8:ipv6.HeaderLen], uint64(size)+protoICMPv6)
	fillICMP(b[ipv6.HeaderLen:], byte(ipv6.ICMPTypeEchoRequest), pseudo, id, t)
	return b
}

// fillICMP makes msg an echo message. pseudo is the sum of the pseudo-header.
func fillICMP(msg []byte, kind byte, pseudo uint64, id [4]byte, t token) {
	msg[0] = kind
	copy(msg[4:], id[:])
	copy(msg[icmpHeader:], t[:])
	binary.BigEndian.PutUint16(msg[2:], ^offload.Fold(offload.Checksum(msg, pseudo)))
}
