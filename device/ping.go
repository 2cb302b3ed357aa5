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
)

const (
	maxPings    = 64 // under way at once
	tokenSize   = 16 // random payload by which a reply is known
	icmpSize    = 8 + tokenSize
	protoICMP   = 1
	protoICMPv6 = 58
)

type token [tokenSize]byte

// echo is an Interface that pings: it injects echo requests into the tunnel and
// takes the matching replies out of what the device writes. While no ping is
// under way, that costs one atomic load for each batch.
type echo struct {
	Interface
	outstanding atomic.Int32

	mu    sync.Mutex // guards pings
	pings map[token]ping
}

// ping is one that waits for its reply.
type ping struct {
	to    netip.Addr
	id    [4]byte // identifier and sequence number
	reply chan time.Time
}

func newEcho(i Interface) *echo { return &echo{Interface: i, pings: make(map[token]ping)} }

// Write passes packets on, but for replies to our pings. It reorders bufs.
func (e *echo) Write(bufs [][]byte, offset int) (int, error) {
	if e.outstanding.Load() == 0 {
		return e.Interface.Write(bufs, offset)
	}
	rest := bufs[:0]
	for _, b := range bufs {
		if !e.take(b[offset:]) {
			rest = append(rest, b)
		}
	}
	if len(rest) == 0 {
		return len(bufs), nil
	}
	return e.Interface.Write(rest, offset)
}

// take reports whether packet answers one of our pings, and ends that ping.
func (e *echo) take(packet []byte) bool {
	from, msg, ok := parseReply(packet)
	if !ok {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.pings[token(msg[8:])]
	if !ok || p.to != from || p.id != [4]byte(msg[4:8]) {
		return false
	}
	select {
	case p.reply <- time.Now():
	default: // a duplicate
	}
	return true
}

// parseReply returns sender and ICMP message if packet is an echo reply of the
// size of ours, without IP options or extension headers.
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

// Ping sends one ICMP echo request through the tunnel and waits for its reply
// until ctx ends. It works without privileges and whatever the host's firewall
// says; only the far side's counts.
func (d *Device) Ping(ctx context.Context, addr netip.Addr) (time.Duration, error) {
	addr = addr.Unmap().WithZone("")
	rtt, err := d.tun.ping(ctx, addr, d.Done())
	if err != nil {
		return 0, fmt.Errorf("ping %s: %w", addr, err)
	}
	return rtt, nil
}

func (e *echo) ping(ctx context.Context, to netip.Addr, gone <-chan struct{}) (time.Duration, error) {
	if !to.IsValid() {
		return 0, errors.New("not an address")
	}
	from, err := e.Source(to)
	if err != nil {
		return 0, err
	}
	if from == to {
		return 0, errors.New("this is the node's own address")
	}
	p := ping{to: to, reply: make(chan time.Time, 1)}
	var t token
	_, _ = rand.Read(p.id[:]) // never fails
	_, _ = rand.Read(t[:])
	if err := e.begin(t, p); err != nil {
		return 0, err
	}
	defer e.end(t)
	start := time.Now()
	if err := e.Inject(echoRequest(from, to, p.id, t)); err != nil {
		return 0, err
	}
	select {
	case at := <-p.reply:
		return at.Sub(start), nil
	case <-gone:
		return 0, errors.New("the device has stopped")
	case <-ctx.Done():
		return 0, fmt.Errorf("no reply: %w", ctx.Err())
	}
}

func (e *echo) begin(t token, p ping) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pings) == maxPings {
		return fmt.Errorf("%d pings are under way already", maxPings)
	}
	e.pings[t] = p
	e.outstanding.Add(1)
	return nil
}

func (e *echo) end(t token) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pings, t)
	e.outstanding.Add(-1)
}

// echoRequest builds an echo request packet.
func echoRequest(from, to netip.Addr, id [4]byte, t token) []byte {
	if to.Is4() {
		b := make([]byte, ipv4.HeaderLen, ipv4.HeaderLen+icmpSize)
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(cap(b)))
		b[6], b[8], b[9] = 0x40, 64, protoICMP // don't fragment, TTL
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
		binary.BigEndian.PutUint16(b[10:], checksum(0, b))
		return appendICMP(b, byte(ipv4.ICMPTypeEcho), 0, id, t)
	}
	b := make([]byte, ipv6.HeaderLen, ipv6.HeaderLen+icmpSize)
	b[0], b[5], b[6], b[7] = 0x60, icmpSize, protoICMPv6, 64
	copy(b[8:], from.AsSlice())
	copy(b[24:], to.AsSlice())
	// The pseudo-header of RFC 8200 §8.1: addresses, length, next header.
	pseudo := uint32(icmpSize + protoICMPv6)
	for i := 8; i < ipv6.HeaderLen; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return appendICMP(b, byte(ipv6.ICMPTypeEchoRequest), pseudo, id, t)
}

func appendICMP(b []byte, kind byte, pseudo uint32, id [4]byte, t token) []byte {
	start := len(b)
	b = append(b, kind, 0, 0, 0)
	b = append(b, id[:]...)
	b = append(b, t[:]...)
	binary.BigEndian.PutUint16(b[start+2:], checksum(pseudo, b[start:]))
	return b
}

// checksum is the Internet checksum (RFC 1071) of b, of even length, on top of sum.
func checksum(sum uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
