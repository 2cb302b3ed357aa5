package portmap

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// fakeGateway is a gateway in memory. All fields are guarded by mu.
type fakeGateway struct {
	t  *testing.T
	mu sync.Mutex

	pcp, pmp bool
	http     func(net.Conn) // serves UPnP; nil: it has none
	location string         // what a search finds; empty: nothing
	silent   bool           // drops everything
	external netip.Addr
	lifetime time.Duration // that it grants at most
	refusal  byte          // what it answers to requests for mappings
	started  time.Time
	mappings map[mesh.Port]uint16 // external ports; Use is empty
	asked    map[string]int       // requests by protocol
}

func newGateway(t *testing.T) *fakeGateway {
	return &fakeGateway{t: t, external: outside, lifetime: 2 * time.Hour, started: time.Now(), mappings: map[mesh.Port]uint16{}, asked: map[string]int{}}
}

// with changes the gateway.
func (g *fakeGateway) with(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

func (g *fakeGateway) restart() {
	g.with(func() { g.started, g.mappings = time.Now(), map[mesh.Port]uint16{} })
}

// mapped returns the external port of a port; 0: there is none.
func (g *fakeGateway) mapped(p mesh.Port) uint16 {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.Use = ""
	return g.mappings[p]
}

func (g *fakeGateway) requests(protocol string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[protocol]
}

// Dial implements Sockets.
func (g *fakeGateway) Dial(_ context.Context, _ mesh.Gateway, network string, to uint16) (net.Conn, error) {
	ours, theirs := net.Pipe()
	g.mu.Lock()
	defer g.mu.Unlock()
	if network != "udp" {
		if g.http == nil {
			return nil, syscall.ECONNREFUSED
		}
		go g.http(theirs)
		return ours, nil
	}
	if to != port {
		g.t.Errorf("port %d is asked", to)
	}
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := theirs.Read(b)
			if err != nil {
				return
			}
			for _, answer := range g.answer(b[:n]) {
				go func() { _, _ = theirs.Write(answer) }()
			}
		}
	}()
	return ours, nil
}

// Search implements Sockets.
func (g *fakeGateway) Search(ctx context.Context, _ mesh.Gateway, _ netip.AddrPort, _ []byte, answer func([]byte) bool) error {
	g.mu.Lock()
	location := g.location
	g.mu.Unlock()
	if location == "" || !answer([]byte("HTTP/1.1 200 OK\r\nST: "+"urn:schemas-upnp-org:device:InternetGatewayDevice:1"+"\r\nLOCATION: "+location+"\r\n\r\n")) {
		<-ctx.Done()
	}
	return nil
}

// answer returns what the gateway answers, after something that is no answer.
func (g *fakeGateway) answer(b []byte) [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked["all"]++
	if g.silent {
		return nil
	}
	stray := []byte{0, 131, 0, 0, 1, 2, 3, 4}
	switch {
	case b[0] == 0 && g.pmp:
		g.asked["pmp"]++
		return [][]byte{stray, g.answerPMP(b)}
	case b[0] == pcpVersion && g.pcp:
		g.asked["pcp"]++
		return [][]byte{stray, g.answerPCP(b)}
	case b[0] == pcpVersion && g.pmp:
		return [][]byte{{0, 128, 0, 1, 0, 0, 0, 0}}
	case b[0] == 0 && g.pcp:
		return [][]byte{append([]byte{pcpVersion, 0x80, 0, 1}, make([]byte, 20)...)}
	}
	return nil
}

func (g *fakeGateway) epoch() uint32 { return uint32(time.Since(g.started) / time.Second) }

// change makes or removes a mapping, and returns the external port.
func (g *fakeGateway) change(p mesh.Port, suggested uint16, lifetime time.Duration) uint16 {
	if lifetime == 0 {
		delete(g.mappings, p)
		return 0
	}
	g.mappings[p] = suggested
	for other, external := range g.mappings {
		if other != p && other.TCP == p.TCP && external == suggested {
			g.mappings[p]++
		}
	}
	return g.mappings[p]
}

func (g *fakeGateway) answerPMP(b []byte) []byte {
	out := binary.BigEndian.AppendUint32([]byte{0, b[1] + pmpResponse, 0, 0}, g.epoch())
	if b[1] == pmpAddress {
		a := g.external.As4()
		return append(out, a[:]...)
	}
	if g.refusal != 0 {
		out[3] = g.refusal
		return out
	}
	lifetime := min(time.Duration(binary.BigEndian.Uint32(b[8:]))*time.Second, g.lifetime)
	internal := binary.BigEndian.Uint16(b[4:])
	external := g.change(mesh.Port{TCP: b[1] == pmpMapTCP, Number: internal}, binary.BigEndian.Uint16(b[6:]), lifetime)
	out = binary.BigEndian.AppendUint16(out, internal)
	out = binary.BigEndian.AppendUint16(out, external)
	return binary.BigEndian.AppendUint32(out, uint32(lifetime/time.Second))
}

func (g *fakeGateway) answerPCP(b []byte) []byte {
	out := append([]byte{}, b...)
	out[1] |= pcpResponse
	lifetime := min(time.Duration(binary.BigEndian.Uint32(b[4:]))*time.Second, g.lifetime)
	binary.BigEndian.PutUint32(out[4:], uint32(lifetime/time.Second))
	binary.BigEndian.PutUint32(out[8:], g.epoch())
	if b[1] != pcpMap {
		return out
	}
	if g.refusal != 0 {
		out[3] = g.refusal
		return out
	}
	p := mesh.Port{TCP: b[36] == 6, Number: binary.BigEndian.Uint16(b[40:])}
	binary.BigEndian.PutUint16(out[42:], g.change(p, binary.BigEndian.Uint16(b[42:]), lifetime))
	a := g.external.As16()
	copy(out[44:], a[:])
	return out
}
