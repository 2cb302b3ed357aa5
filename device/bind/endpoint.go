package bind

import (
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// endpoint is a peer's address and the source to answer from. The embedded
// value is never changed: dropping the source means using bare instead.
type endpoint struct {
	*conn.StdNetEndpoint
	bare    atomic.Pointer[conn.StdNetEndpoint] // without source; nil while the source is good
	checked atomic.Uint32                       // generation in which the source was found good
}

func (b *Bind) endpoint(ep conn.Endpoint) (*endpoint, error) {
	std, ok := ep.(*conn.StdNetEndpoint)
	if !ok {
		return nil, conn.ErrWrongEndpointType
	}
	e := &endpoint{StdNetEndpoint: std}
	e.checked.Store(b.generation.Load())
	return e, nil
}

// ClearSrc drops the source: the kernel chooses one by its routes.
func (e *endpoint) ClearSrc() {
	e.bare.Store(&conn.StdNetEndpoint{AddrPort: e.AddrPort})
}

// target is what to hand to upstream's Send.
func (e *endpoint) target(b *Bind) *conn.StdNetEndpoint {
	if bare := e.bare.Load(); bare != nil {
		return bare
	}
	if now := b.generation.Load(); e.checked.Load() != now {
		if !b.sourceFits(e) {
			e.ClearSrc()
			return e.bare.Load()
		}
		e.checked.Store(now)
	}
	return e.StdNetEndpoint
}

// sourceFits asks the routing table whether packets from the endpoint's source
// still leave by the interface they came in by.
func (b *Bind) sourceFits(e *endpoint) bool {
	ifindex := int(e.SrcIfidx())
	if ifindex == 0 || e.DstIP().IsLinkLocalUnicast() {
		return true // no source, or one that routes have no say in
	}
	b.mu.Lock()
	r := b.routes
	b.mu.Unlock()
	return r.leavesBy(ifindex, e.SrcIP(), e.DstIP(), b.mark.Load())
}
