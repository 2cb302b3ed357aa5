package portmap

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Sizes and numbers of PCP.
const (
	pcpVersion  = 2
	pcpAnnounce = 0
	pcpMap      = 1
	pcpResponse = 0x80
	pcpHeader   = 24
	pcpMapSize  = 36
	pcpMax      = 1100
)

// Nonce tells the mappings of this node from those of others (RFC 6887, section 11.1).
type Nonce [12]byte

// pcpAnswer is a response of PCP.
type pcpAnswer struct {
	operation byte
	result    byte
	lifetime  time.Duration
	epoch     uint32
	// Of a mapping:
	nonce    Nonce
	protocol byte
	internal uint16
	external netip.AddrPort
}

// pcpRequest returns a request's header.
func pcpRequest(operation byte, lifetime time.Duration, source netip.Addr) []byte {
	b := []byte{pcpVersion, operation, 0, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
	from := source.As16()
	return append(b, from[:]...)
}

// pcpMapRequest returns a request to map a port. Without a lifetime the mapping is removed.
func pcpMapRequest(source netip.Addr, n Nonce, p mesh.Port, suggested netip.AddrPort, lifetime time.Duration) []byte {
	b := pcpRequest(pcpMap, lifetime, source)
	b = append(b, n[:]...)
	b = append(b, pcpProtocol(p), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, p.Number)
	b = binary.BigEndian.AppendUint16(b, suggested.Port())
	address := netip.IPv4Unspecified().As16()
	if suggested.Addr().IsValid() {
		address = suggested.Addr().As16()
	}
	return append(b, address[:]...)
}

// pcpProtocol returns IANA's number.
func pcpProtocol(p mesh.Port) byte {
	if p.TCP {
		return 6
	}
	return 17
}

// isPCP reports whether a datagram is a response of PCP, whatever it says.
func isPCP(b []byte) bool { return len(b) >= 4 && b[0] == pcpVersion && b[1]&pcpResponse != 0 }

// parsePCP reads a response. It reports false for everything else.
func parsePCP(b []byte) (a pcpAnswer, ok bool) {
	if len(b) < pcpHeader || len(b) > pcpMax || len(b)%4 != 0 || !isPCP(b) {
		return a, false
	}
	a.operation, a.result = b[1]&^pcpResponse, b[3]
	a.lifetime = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second
	a.epoch = binary.BigEndian.Uint32(b[8:])
	if a.operation != pcpMap {
		return a, a.operation == pcpAnnounce
	}
	if b = b[pcpHeader:]; len(b) < pcpMapSize {
		return a, false
	}
	a.nonce, a.protocol = Nonce(b), b[12]
	a.internal = binary.BigEndian.Uint16(b[16:])
	a.external = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[20:])).Unmap(), binary.BigEndian.Uint16(b[18:]))
	return a, true
}

var pcpErrors = [...]string{
	1: "it does not speak this version of PCP", 2: "forbidden to this host, or another program has the port", 3: "it found the request malformed",
	4: "it has no such operation", 6: "it found an option malformed", 7: "it has no address of its own", 8: "it is out of resources",
	9: "it maps no such ports", 10: "this host has too many mappings there", 11: "it can't provide the external port",
	12: "another NAT is between this host and it", 13: "it has too many peers",
}

func (a pcpAnswer) error() error {
	if a.result == 0 {
		return nil
	}
	return refused(int(a.result), pcpErrors[:])
}

// pcp asks by PCP.
type pcp struct {
	link
	nonce Nonce
	epoch epoch
}

func (p *pcp) name() string { return "PCP" }

func (p *pcp) ask(ctx context.Context, request []byte, matches func(pcpAnswer) bool) (a pcpAnswer, err error) {
	err = p.exchange(ctx, port, request, func(b []byte) (bool, error) {
		if old, ok := parsePMP(b); ok && old.result == 1 { // NAT-PMP's answer to another version
			return true, errNotOffered
		}
		var ok bool
		a, ok = parsePCP(b)
		if !ok || a.operation != request[1] || !matches(a) {
			return false, nil
		}
		return true, a.error()
	})
	return a, err
}

func (p *pcp) announce(ctx context.Context) (lost bool, err error) {
	a, err := p.ask(ctx, pcpRequest(pcpAnnounce, 0, p.gateway.Source), func(pcpAnswer) bool { return true })
	if err != nil {
		return false, err
	}
	return p.epoch.restarted(time.Now(), a.epoch), nil
}

// probe does not learn the external address, which comes with a mapping.
func (p *pcp) probe(ctx context.Context) (netip.Addr, error) {
	_, err := p.announce(ctx)
	return netip.Addr{}, err
}

func (p *pcp) check(ctx context.Context, _ []lease) (lost bool, err error) { return p.announce(ctx) }

func (p *pcp) checkInterval() time.Duration { return checkOften }

func (p *pcp) mapPort(ctx context.Context, want mesh.Port, suggested netip.AddrPort, lifetime time.Duration) (pcpAnswer, error) {
	return p.ask(ctx, pcpMapRequest(p.gateway.Source, p.nonce, want, suggested, lifetime), func(a pcpAnswer) bool {
		return a.nonce == p.nonce && a.protocol == pcpProtocol(want) && a.internal == want.Number
	})
}

func (p *pcp) grant(ctx context.Context, want mesh.Port, suggested uint16) (grant, error) {
	a, err := p.mapPort(ctx, want, netip.AddrPortFrom(netip.IPv4Unspecified(), suggested), askedLifetime)
	if err != nil {
		return grant{}, err
	}
	if p.epoch.restarted(time.Now(), a.epoch) {
		p.epoch.doubt = true // the other mappings are asked about at the next look
	}
	return grant{external: a.external, lifetime: a.lifetime}, nil
}

func (p *pcp) release(ctx context.Context, l lease) error {
	if _, err := p.mapPort(ctx, l.port, netip.AddrPort{}, 0); err != nil {
		return fmt.Errorf("removing the mapping of %s port %d by PCP: %w", l.port.Network(), l.port.Number, err)
	}
	return nil
}
