package portmap

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// port is that of NAT-PMP and PCP.
const port = 5351

// Operations of NAT-PMP.
const (
	pmpAddress  = 0
	pmpMapUDP   = 1
	pmpMapTCP   = 2
	pmpResponse = 128 // added to the operation
)

// pmpAnswer is a response of NAT-PMP.
type pmpAnswer struct {
	operation byte
	result    uint16
	epoch     uint32     // seconds since the gateway lost its mappings
	external  netip.Addr // of pmpAddress
	// Of a mapping:
	internal, mapped uint16
	lifetime         time.Duration
}

// pmpMapRequest returns a request to map a port. Without a lifetime the mapping is removed.
func pmpMapRequest(p mesh.Port, external uint16, lifetime time.Duration) []byte {
	b := []byte{0, pmpOperation(p), 0, 0}
	b = binary.BigEndian.AppendUint16(b, p.Number)
	b = binary.BigEndian.AppendUint16(b, external)
	return binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
}

func pmpOperation(p mesh.Port) byte {
	if p.TCP {
		return pmpMapTCP
	}
	return pmpMapUDP
}

// parsePMP reads a response. It reports false for everything else.
func parsePMP(b []byte) (a pmpAnswer, ok bool) {
	if len(b) < 8 || b[0] != 0 || b[1] < pmpResponse {
		return a, false
	}
	a.operation, a.result, a.epoch = b[1]-pmpResponse, binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])
	if a.result != 0 {
		return a, true
	}
	switch b = b[8:]; {
	case a.operation == pmpAddress && len(b) >= 4:
		a.external = netip.AddrFrom4([4]byte(b))
	case (a.operation == pmpMapUDP || a.operation == pmpMapTCP) && len(b) >= 8:
		a.internal, a.mapped = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		a.lifetime = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second
	default:
		return a, false
	}
	return a, true
}

var pmpErrors = [...]string{
	1: "it does not speak NAT-PMP", 2: "it is turned off there, or forbidden to this host", 3: "it has no address of its own",
	4: "it is out of resources", 5: "it maps no such ports",
}

func (a pmpAnswer) error() error {
	if a.result == 0 {
		return nil
	}
	return refused(int(a.result), pmpErrors[:])
}

// pmp asks by NAT-PMP.
type pmp struct {
	link
	epoch    epoch
	external netip.Addr
}

func (p *pmp) name() string { return "NAT-PMP" }

func (p *pmp) ask(ctx context.Context, request []byte, internal uint16) (a pmpAnswer, err error) {
	err = p.exchange(ctx, port, request, func(b []byte) (bool, error) {
		if isPCP(b) { // PCP's answer to another version
			return true, errNotOffered
		}
		var ok bool
		a, ok = parsePMP(b)
		if !ok || a.operation != request[1] || a.result == 0 && a.internal != internal {
			return false, nil
		}
		return true, a.error()
	})
	return a, err
}

func (p *pmp) probe(ctx context.Context) (netip.Addr, error) {
	_, err := p.look(ctx)
	return p.external, err
}

// look asks for the external address, and reports whether mappings may be lost.
func (p *pmp) look(ctx context.Context) (lost bool, err error) {
	a, err := p.ask(ctx, []byte{0, pmpAddress}, 0)
	if err != nil {
		return false, err
	}
	lost = p.epoch.restarted(time.Now(), a.epoch) || a.external != p.external
	p.external = a.external
	return lost, nil
}

func (p *pmp) check(ctx context.Context, _ []lease) (lost bool, err error) { return p.look(ctx) }

func (p *pmp) checkInterval() time.Duration { return checkOften }

func (p *pmp) grant(ctx context.Context, want mesh.Port, suggested uint16) (grant, error) {
	a, err := p.ask(ctx, pmpMapRequest(want, suggested, askedLifetime), want.Number)
	if err != nil {
		return grant{}, err
	}
	if p.epoch.restarted(time.Now(), a.epoch) {
		p.epoch.doubt = true // the other mappings are asked about at the next look
	}
	return grant{external: netip.AddrPortFrom(p.external, a.mapped), lifetime: a.lifetime}, nil
}

func (p *pmp) release(ctx context.Context, l lease) error {
	if _, err := p.ask(ctx, pmpMapRequest(l.port, 0, 0), l.port.Number); err != nil {
		return fmt.Errorf("removing the mapping of %s port %d by NAT-PMP: %w", l.port.Network(), l.port.Number, err)
	}
	return nil
}
