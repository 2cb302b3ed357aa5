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
	"github.com/wirespan/wirespan/device/inflight"
	"github.com/wirespan/wirespan/device/offload"
)

const (
	maxPings    = 1024            // under way at once
	echoTime    = 2 * time.Second // how long an echo is waited for
	tokenSize   = 16              // random data that identifies a ping
	icmpHeader  = 8
	defaultEcho = tokenSize // bytes of data
	protoICMP   = 1
	protoICMPv6 = 58
)

type token [tokenSize]byte

// pinger is an Interface that can ping: it injects echo requests into the tunnel
// and removes their replies from the packets that the device writes. While no ping
// is under way, that costs one atomic load per batch. Requests that nobody may fragment
// are marked for the engine, and so are answers to such requests of peers.
type pinger struct {
	Interface
	answers answers
	pending atomic.Int32 // len(pings)
	whole   atomic.Int32 // how many of them are to be marked

	mu    sync.Mutex // guards pings
	pings map[token]pendingPing
}

// pendingPing is a ping that waits for its reply.
type pendingPing struct {
	to    netip.Addr
	id    [4]byte                          // identifier and sequence number
	size  int                              // of the ICMP message
	whole bool                             // the request is marked when it passes
	reply func(at time.Time, damaged bool) // called once
}

// newPinger returns a pinger, which calls probed with the address of a peer that probes the
// path to this host.
func newPinger(i Interface, probed func(from netip.Addr)) *pinger {
	return &pinger{
		Interface: i, pings: make(map[token]pendingPing),
		answers: answers{probed: probed, tokens: make(map[token]bool)},
	}
}

// Read marks requests that nobody may fragment, and answers to those of peers.
func (p *pinger) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := p.Interface.Read(bufs, sizes, offset)
	p.answers.mark(bufs, sizes[:n], offset)
	if p.whole.Load() == 0 {
		return n, err
	}
	for i, size := range sizes[:n] {
		if p.isWhole(bufs[i][offset : offset+size]) {
			inflight.Probe.Put(bufs[i], size)
		}
	}
	return n, err
}

// isWhole reports whether packet is a request that nobody may fragment.
func (p *pinger) isWhole(packet []byte) bool {
	_, msg, ok := parseEcho(packet, ipv4.ICMPTypeEcho, ipv6.ICMPTypeEchoRequest)
	if !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ping, ok := p.pings[token(msg[icmpHeader:])]
	return ok && ping.whole
}

// Write passes on all packets but replies to our pings. It reorders bufs.
func (p *pinger) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		p.answers.note(b[offset:])
	}
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
	from, msg, ok := parseEcho(packet, ipv4.ICMPTypeEchoReply, ipv6.ICMPTypeEchoReply)
	if !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := token(msg[icmpHeader:])
	ping, ok := p.pings[t]
	if !ok || ping.to != from || ping.id != [4]byte(msg[4:8]) {
		return false
	}
	p.forget(t, ping)
	ping.reply(time.Now(), len(msg) != ping.size || !isPadding(msg[icmpHeader+tokenSize:]))
	return true
}

// parseEcho returns sender and ICMP message of an echo message of these types. Of any other
// packet, of one with IP options or extension headers, and of one without room for a token,
// ok is false.
func parseEcho(packet []byte, v4 ipv4.ICMPType, v6 ipv6.ICMPType) (from netip.Addr, msg []byte, ok bool) {
	const least = icmpHeader + tokenSize
	switch {
	case len(packet) >= ipv6.HeaderLen+least && packet[0]>>4 == 6 && packet[6] == protoICMPv6:
		from, msg = netip.AddrFrom16([16]byte(packet[8:24])), packet[ipv6.HeaderLen:]
		return from, msg, msg[0] == byte(v6) && msg[1] == 0
	case len(packet) >= ipv4.HeaderLen+least && packet[0] == 0x45 && packet[9] == protoICMP:
		from, msg = netip.AddrFrom4([4]byte(packet[12:16])), packet[ipv4.HeaderLen:]
		return from, msg, msg[0] == byte(v4) && msg[1] == 0
	}
	return netip.Addr{}, nil, false
}

// padding is the data of a request behind its token: a byte for each place.
func padding(b []byte) {
	for i := range b {
		b[i] = byte(i)
	}
}

func isPadding(b []byte) bool {
	for i := range b {
		if b[i] != byte(i) {
			return false
		}
	}
	return true
}

// Ping sends one ICMP echo request with so many bytes of data through the tunnel, waits for
// its reply until ctx ends, and returns the round-trip time. At least 16 bytes are sent. It
// needs no privileges, and the host's own firewall does not see its packets.
func (d *Device) Ping(ctx context.Context, addr netip.Addr, size int) (time.Duration, error) {
	addr = addr.Unmap().WithZone("")
	rtt, err := d.tun.ping(ctx, addr, size, d.Done())
	if err != nil {
		return 0, fmt.Errorf("ping %s: %w", addr, err)
	}
	return rtt, nil
}

type echoReply struct {
	at      time.Time
	damaged bool
}

func (p *pinger) ping(ctx context.Context, to netip.Addr, size int, stopped <-chan struct{}) (time.Duration, error) {
	reply := make(chan echoReply, 1)
	ping := pendingPing{to: to, size: icmpHeader + max(size, defaultEcho)}
	ping.reply = func(at time.Time, damaged bool) { reply <- echoReply{at, damaged} }
	start := time.Now()
	t, err := p.request(ping)
	if err != nil {
		return 0, err
	}
	defer p.end(t)
	select {
	case r := <-reply:
		if r.damaged {
			return 0, errors.New("the reply does not have the data that was sent")
		}
		return r.at.Sub(start), nil
	case <-stopped:
		return 0, errors.New("the device has stopped")
	case <-ctx.Done():
		return 0, fmt.Errorf("no reply: %w", ctx.Err())
	}
}

// echo sends an echo request, and calls done from another goroutine if it is answered soon.
func (p *pinger) echo(to netip.Addr, done func(rtt time.Duration)) error {
	return p.ask(pendingPing{to: to, size: engine.EchoSize - ipHeader(to)}, done)
}

// probe is echo with a packet of a size that nobody may fragment.
func (p *pinger) probe(to netip.Addr, size int, done func(rtt time.Duration)) error {
	return p.ask(pendingPing{to: to, size: size - ipHeader(to), whole: true}, done)
}

func (p *pinger) ask(ping pendingPing, done func(rtt time.Duration)) error {
	start := time.Now()
	ping.reply = func(at time.Time, damaged bool) {
		if !damaged {
			go done(at.Sub(start))
		}
	}
	t, err := p.request(ping)
	if err != nil {
		return err
	}
	time.AfterFunc(echoTime, func() { p.end(t) })
	return nil
}

func ipHeader(of netip.Addr) int {
	if of.Is4() {
		return ipv4.HeaderLen
	}
	return ipv6.HeaderLen
}

// request sends an echo request. It calls reply if it is answered before end is called;
// reply must not block.
func (p *pinger) request(ping pendingPing) (token, error) {
	to := ping.to
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
	mtu, err := p.MTU()
	if err != nil {
		return token{}, err
	}
	if most := mtu - ipHeader(to) - icmpHeader; ping.size > icmpHeader+most {
		return token{}, fmt.Errorf("%d bytes of data are too many: the tunnel's MTU is %d, which leaves %d", ping.size-icmpHeader, mtu, most)
	}
	var t token
	_, _ = rand.Read(ping.id[:]) // never fails
	_, _ = rand.Read(t[:])
	if err := p.begin(t, ping); err != nil {
		return token{}, err
	}
	if err := p.Inject(echoRequest(from, &ping, t)); err != nil {
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
	if ping.whole {
		p.whole.Add(1)
	}
	return nil
}

// end forgets an echo request.
func (p *pinger) end(t token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ping, waiting := p.pings[t]; waiting {
		p.forget(t, ping)
	}
}

// forget ends a ping that is under way. The caller holds mu.
func (p *pinger) forget(t token, ping pendingPing) {
	delete(p.pings, t)
	p.pending.Add(-1)
	if ping.whole {
		p.whole.Add(-1)
	}
}

// echoRequest returns an ICMP echo request packet.
func echoRequest(from netip.Addr, ping *pendingPing, t token) []byte {
	to, header := ping.to, ipHeader(ping.to)
	b := make([]byte, header+ping.size)
	msg := b[header:]
	copy(msg[4:], ping.id[:])
	copy(msg[icmpHeader:], t[:])
	padding(msg[icmpHeader+tokenSize:])
	var pseudo uint64
	if to.Is4() {
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[6], b[8], b[9] = 0x40, 64, protoICMP // don't fragment, TTL
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
		binary.BigEndian.PutUint16(b[10:], ^offload.Fold(offload.Checksum(b[:header], 0)))
		msg[0] = byte(ipv4.ICMPTypeEcho)
	} else {
		b[0], b[6], b[7] = 0x60, protoICMPv6, 64
		binary.BigEndian.PutUint16(b[4:], uint16(ping.size))
		copy(b[8:], from.AsSlice())
		copy(b[24:], to.AsSlice())
		// The pseudo-header of RFC 8200 §8.1: addresses, length, next header.
		pseudo = offload.Checksum(b[8:header], uint64(ping.size)+protoICMPv6)
		msg[0] = byte(ipv6.ICMPTypeEchoRequest)
	}
	binary.BigEndian.PutUint16(msg[2:], ^offload.Fold(offload.Checksum(msg, pseudo)))
	return b
}
