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

// held is a peer as the device has it. It is used again for the next peer, its
// slice included.
type held struct {
	publicKey         mesh.Key
	presharedKey      [mesh.KeySize]byte
	endpoint          netip.AddrPort
	keepalive         time.Duration
	allowedIPs        []netip.Prefix
	handshake         time.Time // zero: never
	receive, transmit uint64
}

// visitor says what to take from the device. Nil fields are skipped, and so
// are the keys and addresses that only they need.
type visitor struct {
	port *uint16
	peer func(*held)
	// config asks for preshared key, keepalive and allowed IPs as well.
	config bool
}

// read visits the device's state. The text it comes in holds every secret of
// the device; it is parsed where upstream wrote it, and no part is kept.
func (d *Device) read(v visitor) error {
	r := reader{visitor: v}
	if err := d.wg.IpcGetOperation(&r); err != nil {
		return fmt.Errorf("read the device's state: %w", err)
	}
	return nil
}

// reader parses the reply to a "get" of WireGuard's configuration protocol. It
// is written in one piece.
type reader struct {
	visitor
	held   held
	inPeer bool
	sec    int64
}

var errSyntax = errors.New("unexpected text")

// Write parses b.
func (r *reader) Write(b []byte) (int, error) {
	defer func() { r.held.presharedKey = [mesh.KeySize]byte{} }()
	for rest := b; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		key, value, ok := bytes.Cut(line, []byte{'='})
		if !ok {
			return 0, errSyntax
		}
		if err := r.field(key, value); err != nil {
			return 0, fmt.Errorf("field %s: %w", key, err)
		}
	}
	r.finish()
	return len(b), nil
}

// field takes one line. Errors never quote the value.
func (r *reader) field(key, value []byte) error {
	switch string(key) {
	case "listen_port":
		n, err := parseUint(value, math.MaxUint16)
		if err == nil && r.port != nil {
			*r.port = uint16(n)
		}
		return err
	case "public_key":
		r.finish()
		r.inPeer = true
		r.held = held{allowedIPs: r.held.allowedIPs[:0]}
		return parseHex(&r.held.publicKey, value)
	}
	if r.peer == nil || !r.inPeer {
		return nil
	}
	if r.config {
		return r.configField(string(key), value)
	}
	return r.statField(string(key), value)
}

func (r *reader) statField(key string, value []byte) (err error) {
	switch key {
	case "endpoint":
		r.held.endpoint, err = parseEndpoint(value)
	case "last_handshake_time_sec":
		r.sec, err = parseInt(value)
	case "last_handshake_time_nsec":
		var nsec int64
		if nsec, err = parseInt(value); r.sec != 0 || nsec != 0 {
			r.held.handshake = time.Unix(r.sec, nsec)
		}
	case "rx_bytes":
		r.held.receive, err = parseUint(value, math.MaxUint64)
	case "tx_bytes":
		r.held.transmit, err = parseUint(value, math.MaxUint64)
	}
	return err
}

func (r *reader) configField(key string, value []byte) (err error) {
	switch key {
	case "preshared_key":
		err = parseHex(&r.held.presharedKey, value)
	case "persistent_keepalive_interval":
		var seconds uint64
		seconds, err = parseUint(value, math.MaxUint16)
		r.held.keepalive = time.Duration(seconds) * time.Second
	case "allowed_ip":
		var p netip.Prefix
		p, err = netip.ParsePrefix(string(value))
		r.held.allowedIPs = append(r.held.allowedIPs, p)
	default:
		err = r.statField(key, value)
	}
	return err
}

func (r *reader) finish() {
	if r.inPeer && r.peer != nil {
		r.peer(&r.held)
	}
	r.inPeer = false
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
	return netip.AddrPortFrom(ep.Addr().Unmap(), ep.Port()), err
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

// Stats reads what the device knows of its peers, sorted by public key's bytes.
func (d *Device) Stats() ([]mesh.PeerStats, error) {
	d.mu.Lock()
	expected := d.peers
	d.mu.Unlock()
	stats := make([]mesh.PeerStats, 0, expected)
	err := d.read(visitor{peer: func(h *held) {
		stats = append(stats, mesh.PeerStats{
			PublicKey: h.publicKey, Endpoint: h.endpoint,
			ReceiveBytes: h.receive, TransmitBytes: h.transmit, LastHandshakeTime: h.handshake,
		})
	}})
	if err != nil {
		return nil, err
	}
	sort.Slice(stats, func(i, j int) bool {
		return bytes.Compare(stats[i].PublicKey[:], stats[j].PublicKey[:]) < 0
	})
	d.mu.Lock()
	d.peers = len(stats)
	d.mu.Unlock()
	return stats, nil
}

// handshakeSum changes whenever any peer completes a handshake.
func (d *Device) handshakeSum() (uint64, error) {
	var sum uint64
	err := d.read(visitor{peer: func(h *held) {
		if !h.handshake.IsZero() {
			sum += uint64(h.handshake.UnixNano())
		}
	}})
	return sum, err
}
