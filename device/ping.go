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

	"github.com/wirespan/wirespan/device/offload"
)

const (
	maxPings    = 64 // under way at once
	tokenSize   = 16 // random payload that identifies a ping
	icmpSize    = 8 + tokenSize
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
	id    [4]byte // identifier and sequence number
	reply chan time.Time
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
	ping, ok := p.pings[token(msg[8:])]
	if !ok || ping.to != from || ping.id != [4]byte(msg[4:8]) {
		return false
	}
	select {
	case ping.reply <- time.Now():
	default: // a duplicate
	}
	return true
}

// parseReply returns sender and ICMP message of an echo reply. Of any other packet,
// of one with IP options or extension headers, and of one whose size differs from
// our requests, ok is false.
func parseReply(packet []byte) (from netip.Addr, msg []byte, ok bool) {
	switch {
	case len(packet) == ipv6.HeaderLen+icmpSize && packet[0]>>4 == 6 && packet[6] == protoICMPv6:
		from, msg = netip.AddrFrom16([16]byte(packet[8:24])), packet[ipv6.HeaderLen:]
		return from, msg, msg[0] == byte(ipv6.ICMPTypeEchoReply) && msg[1] == 0
	case len(packet) == ipv4.HeaderLen+icmpSize && packet[0] == 0x45 && packet[9] == protoICMP:
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
	if !to.IsValid() {
		return 0, errors.New("not an address")
	}
	from, err := p.Source(to)
	if err != nil {
		return 0, err
	}
	if from == to {
		return 0, errors.New("this is the node's own address")
	}
	ping := pendingPing{to: to, reply: make(chan time.Time, 1)}
	var t token
	_, _ = rand.Read(ping.id[:]) // never fails
	_, _ = rand.Read(t[:])
	if err := p.begin(t, ping); err != nil {
		return 0, err
	}
	defer p.end(t)
	start := time.Now()
	if err := p.Inject(echoRequest(from, to, ping.id, t)); err != nil {
		return 0, err
	}
	select {
	case at := <-ping.reply:
		return at.Sub(start), nil
	case <-stopped:
		return 0, errors.New("the device has stopped")
	case <-ctx.Done():
		return 0, fmt.Errorf("no reply: %w", ctx.Err())
	}
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

func (p *pinger) end(t token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pings, t)
	p.pending.Add(-1)
}

// echoRequest returns an ICMP echo request packet.
func echoRequest(from, to netip.Addr, id [4]byte, t token) []byte {
	if to.Is4() {
		b := make([]byte, ipv4.HeaderLen, ipv4.HeaderLen+icmpSize)
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(cap(b)))
		b[6], b[8], b[9] = 0x40, 64, protoICMP // don't fragment, TTL
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
		binary.BigEndian.PutUint16(b[10:], ^offload.Fold(offload.Checksum(b, 0)))
		return appendICMP(b, byte(ipv4.ICMPTypeEcho), 0, id, t)
	}
	b := make([]byte, ipv6.HeaderLen, ipv6.HeaderLen+icmpSize)
	b[0], b[5], b[6], b[7] = 0x60, icmpSize, protoICMPv6, 64
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	// The pseudo-header of RFC 8200 §8.1: addresses, length, next header.
	pseudo := offload.Checksum(b[8:], icmpSize+protoICMPv6)
	return appendICMP(b, byte(ipv6.ICMPTypeEchoRequest), pseudo, id, t)
}

// appendICMP appends an echo message. pseudo is the sum of the pseudo-header.
func appendICMP(b []byte, kind byte, pseudo uint64, id [4]byte, t token) []byte {
	start := len(b)
	b = append(b, kind, 0, 0, 0)
	b = append(b, id[:]...)
	b = append(b, t[:]...)
	binary.BigEndian.PutUint16(b[start+2:], ^offload.Fold(offload.Checksum(b[start:], pseudo)))
	return b
}
