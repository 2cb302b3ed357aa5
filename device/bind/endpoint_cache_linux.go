package bind

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// maxCached bounds the endpoints in a cache, since anyone can forge sources.
const maxCached = 1024

// path is the address a message came from and the one at which it arrived.
type path struct {
	dst     [16]byte // the peer; IPv4 in the first four bytes
	src     [16]byte // the local address, likewise
	scope   uint32
	ifindex uint32
	port    uint16
	v6      bool
}

// pathOf returns the path of a message with this socket address and these control
// messages.
func pathOf(name *[unix.SizeofSockaddrInet6]byte, c control) path {
	p := path{src: c.src, ifindex: c.ifindex, port: binary.BigEndian.Uint16(name[2:])}
	if binary.NativeEndian.Uint16(name[:]) == unix.AF_INET {
		copy(p.dst[:4], name[4:8])
		return p
	}
	p.v6 = true
	copy(p.dst[:], name[8:24])
	p.scope = binary.NativeEndian.Uint32(name[24:])
	return p
}

// endpoint returns a new endpoint that answers along the path. zone is the name of
// the path's scope.
func (p path) endpoint(zone string) *endpoint {
	dst, src := netip.AddrFrom16(p.dst).WithZone(zone), netip.AddrFrom16(p.src)
	if !p.v6 {
		dst, src = netip.AddrFrom4([4]byte(p.dst[:4])), netip.AddrFrom4([4]byte(p.src[:4]))
	}
	e := newEndpoint(netip.AddrPortFrom(dst, p.port), p.scope)
	if p.ifindex != 0 {
		e.setSource(src, p.ifindex)
	}
	return e
}

// cache holds the endpoints of a socket, so that no packet allocates one.
type cache struct {
	last    path
	lastHit *endpoint
	all     map[path]*endpoint
	zones   map[uint32]string // names of scopes, since asking the system is slow
}

func newCache() cache {
	return cache{all: make(map[path]*endpoint), zones: make(map[uint32]string)}
}

// endpoint returns the endpoint for a path. It is the same one each time, unless
// its source was cleared meanwhile: a packet that came along the path shows that
// the source can be used again.
func (c *cache) endpoint(p path) *endpoint {
	if c.lastHit != nil && p == c.last && !c.lastHit.cleared.Load() {
		return c.lastHit
	}
	e := c.all[p]
	if e == nil || e.cleared.Load() {
		if len(c.all) >= maxCached {
			clear(c.all)
			clear(c.zones)
		}
		zone, known := c.zones[p.scope]
		if !known {
			zone = zoneOf(p.scope)
			c.zones[p.scope] = zone
		}
		e = p.endpoint(zone)
		c.all[p] = e
	}
	c.last, c.lastHit = p, e
	return e
}
