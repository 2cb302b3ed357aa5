package device

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sort"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// devicePeer is a peer as the device has it.
type devicePeer struct {
	publicKey         mesh.Key
	presharedKey      [mesh.KeySize]byte
	endpoint          netip.AddrPort
	keepalive         time.Duration
	allowedIPs        []netip.Prefix
	handshake         time.Time // zero: never
	receive, transmit uint64
}

// query selects what to read of the device's state.
type query struct {
	port *uint16 // set to the listen port; nil: not read
	// peer is called for each peer; nil: not called. The devicePeer and its slice
	// are used again for the next peer.
	peer func(*devicePeer)
	// config selects preshared key, keepalive and allowed IPs as well, keepalive the
	// second alone. What is not selected is zero.
	config, keepalive bool
}

// get reads the device's state. The text in which upstream returns it holds all
// secrets of the device. It is parsed where upstream wrote it, and no part of it is
// kept.
func (d *Device) get(q query) error {
	p := getParser{query: q}
	if q.peer != nil {
		p.times, p.now = d.handshakes, time.Now()
	}
	if err := d.wg.IpcGetOperation(&p); err != nil {
		return fmt.Errorf("read the device's state: %w", err)
	}
	return nil
}

// getParser parses the reply to a "get" of WireGuard's configuration protocol.
// Upstream writes that in one piece.
type getParser struct {
	query
	current devicePeer // as far as it was read
	inPeer  bool       // there is a current peer
	sec     int64      // seconds of its last handshake

	times *handshakeTimes // nil: handshakes are at the time that upstream says
	now   time.Time
	shook int // peers with a handshake
}

var errSyntax = errors.New("unexpected text")

// Write parses a whole reply.
func (p *getParser) Write(b []byte) (int, error) {
	defer func() { p.current.presharedKey = [mesh.KeySize]byte{} }()
	if p.times != nil {
		p.times.begin()
		defer func() { p.times.end(p.shook, p.now) }()
	}
	for rest := b; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		key, value, ok := bytes.Cut(line, []byte{'='})
		if !ok {
			return 0, errSyntax
		}
		if err := p.field(key, value); err != nil {
			return 0, fmt.Errorf("field %s: %w", key, err)
		}
	}
	p.endPeer()
	return len(b), nil
}

// field parses one line. Errors never quote the value.
func (p *getParser) field(key, value []byte) error {
	switch string(key) {
	case "listen_port":
		n, err := parseUint(value, math.MaxUint16)
		if err == nil && p.port != nil {
			*p.port = uint16(n)
		}
		return err
	case "public_key":
		p.endPeer()
		p.inPeer = true
		p.current = devicePeer{allowedIPs: p.current.allowedIPs[:0]}
		return parseHex(&p.current.publicKey, value)
	}
	if p.peer == nil || !p.inPeer {
		return nil
	}
	if p.config || p.keepalive && string(key) == "persistent_keepalive_interval" {
		return p.configField(string(key), value)
	}
	return p.statField(string(key), value)
}

func (p *getParser) statField(key string, value []byte) (err error) {
	switch key {
	case "endpoint":
		p.current.endpoint, err = parseEndpoint(value)
	case "last_handshake_time_sec":
		p.sec, err = parseInt(value)
	case "last_handshake_time_nsec":
		var nsec int64
		if nsec, err = parseInt(value); p.sec != 0 || nsec != 0 {
			p.current.handshake = time.Unix(p.sec, nsec)
		}
	case "rx_bytes":
		p.current.receive, err = parseUint(value, math.MaxUint64)
	case "tx_bytes":
		p.current.transmit, err = parseUint(value, math.MaxUint64)
	}
	return err
}

func (p *getParser) configField(key string, value []byte) (err error) {
	switch key {
	case "preshared_key":
		err = parseHex(&p.current.presharedKey, value)
	case "persistent_keepalive_interval":
		var seconds uint64
		seconds, err = parseUint(value, math.MaxUint16)
		p.current.keepalive = time.Duration(seconds) * time.Second
	case "allowed_ip":
		var prefix netip.Prefix
		prefix, err = netip.ParsePrefix(string(value))
		p.current.allowedIPs = append(p.current.allowedIPs, prefix)
	default:
		err = p.statField(key, value)
	}
	return err
}

// endPeer reports the current peer, if there is one.
func (p *getParser) endPeer() {
	if p.inPeer && p.peer != nil {
		if p.times != nil && !p.current.handshake.IsZero() {
			p.current.handshake = p.times.of(p.current.publicKey, p.current.handshake, p.now)
			p.shook++
		}
		p.peer(&p.current)
	}
	p.inPeer = false
}

func parseHex[T ~[mesh.KeySize]byte](dst *T, value []byte) error {
	var key [mesh.KeySize]byte
	if len(value) != hex.EncodedLen(len(key)) {
		return errSyntax
	}
	if _, err := hex.Decode(key[:], value); err != nil {
		return errSyntax
	}
	*dst = T(key)
	return nil
}

func parseEndpoint(value []byte) (netip.AddrPort, error) {
	ep, err := netip.ParseAddrPort(string(value))
	return mesh.Plain(ep), err
}

func parseUint(value []byte, limit uint64) (uint64, error) {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil || n > limit {
		return 0, errSyntax
	}
	return n, nil
}

func parseInt(value []byte) (int64, error) {
	n, err := parseUint(value, math.MaxInt64)
	return int64(n), err
}

// Stats returns the statistics of all peers, sorted by the bytes of their public
// keys.
func (d *Device) Stats() ([]mesh.PeerStats, error) {
	d.mu.Lock()
	expected := d.peers
	d.mu.Unlock()
	stats := make([]mesh.PeerStats, 0, expected)
	err := d.get(query{peer: func(p *devicePeer) {
		stats = append(stats, mesh.PeerStats{
			PublicKey: p.publicKey, Endpoint: p.endpoint,
			ReceiveBytes: p.receive, TransmitBytes: p.transmit, LastHandshakeTime: p.handshake,
		})
	}})
	if err != nil {
		return nil, err
	}
	for i := range stats {
		stats[i].Path = d.engine.Path(stats[i].PublicKey)
	}
	sort.Slice(stats, func(i, j int) bool {
		return bytes.Compare(stats[i].PublicKey[:], stats[j].PublicKey[:]) < 0
	})
	d.mu.Lock()
	d.peers = len(stats)
	d.mu.Unlock()
	return stats, nil
}

// handshakeSum returns a sum that changes whenever a peer completes a handshake. It
// tells the engine of handshakes that were completed. It must not be called concurrently.
func (d *Device) handshakeSum() (uint64, error) {
	var sum uint64
	err := d.get(query{peer: func(p *devicePeer) {
		if p.handshake.IsZero() {
			return
		}
		sum += uint64(p.handshake.UnixNano())
		d.engine.Handshake(p.publicKey, p.handshake, p.endpoint)
	}})
	return sum, err
}
