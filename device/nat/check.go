package nat

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
)

// memory is how long a NAT may remember whom the socket has sent to. What was found out
// about its filter holds as long, and is not found out again meanwhile.
const memory = 10 * time.Minute

// filtered is what was found out about a filter.
type filtered struct {
	by mesh.Behaviour
	at time.Time
}

// checked is a server's answer to Check.
type checked struct {
	*target
	answer
	err error
}

// Check asks the servers, and finds out about the NATs what they allow to find out.
func (p *Prober) Check(ctx context.Context) mesh.NATCheck {
	p.mu.Lock()
	servers := p.stun.Servers
	p.mu.Unlock()
	found, unresolved := p.resolve(ctx, servers)
	results := make([]checked, len(found))
	var g sync.WaitGroup
	for i, t := range found {
		g.Go(func() {
			a, err := p.ask(ctx, question{to: t.addr}, hasty)
			results[i] = checked{t, a, err}
		})
	}
	g.Wait()
	c := mesh.NATCheck{STUN: append([]mesh.ServerCheck{}, unresolved...), Families: make([]mesh.NAT, 2)}
	for _, r := range results {
		s := mesh.ServerCheck{Server: r.name, Address: r.addr}
		if r.err != nil {
			s.Error = r.err.Error()
		} else {
			s.Mapped, s.Millis = r.Mapped, millis(r.rtt)
		}
		c.STUN = append(c.STUN, s)
	}
	for i := range c.Families {
		g.Go(func() { c.Families[i] = p.checkFamily(ctx, i == 1, results) })
	}
	g.Wait()
	return c
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// checkFamily finds out about the NATs of an IP version.
func (p *Prober) checkFamily(ctx context.Context, v6 bool, results []checked) mesh.NAT {
	n := mesh.NAT{Family: "ipv4", Mapping: mesh.BehaviourUnknown, Filtering: mesh.BehaviourUnknown, Mapped: []netip.AddrPort{}}
	if v6 {
		n.Family = "ipv6"
	}
	var list []observation
	var two *checked // a server with two addresses
	asked := map[netip.Addr]bool{}
	for i := range results {
		r := &results[i]
		if r.addr.Addr().Is6() != v6 {
			continue
		}
		asked[r.addr.Addr()] = true
		if r.err != nil {
			continue
		}
		n.Available = true
		list = append(list, observation{r.addr.Addr(), r.Mapped})
		if two == nil && usable(r.Other, r.addr) {
			two = r
		}
	}
	if two != nil && !asked[two.Other.Addr()] {
		n.Filtering = p.filter(ctx, two)
		if o, ok := p.second(ctx, two); ok {
			list = append(list, o)
		}
	}
	p.mu.Lock()
	own := p.socket()
	p.mu.Unlock()
	n.Mapping = mapping(list, own)
	n.Type = mesh.NATType(n.Mapping, n.Filtering)
	n.SamePort = len(list) > 0
	for _, o := range list {
		if !slices.Contains(n.Mapped, o.mapped) {
			n.Mapped = append(n.Mapped, o.mapped)
		}
		n.SamePort = n.SamePort && o.mapped.Port() == own.port
	}
	if len(list) > 0 && n.Mapping != mesh.BehaviourNone {
		_, err := p.ask(ctx, question{to: list[0].mapped, echo: true}, hasty)
		back := err == nil
		n.Hairpin = &back
	}
	return n
}

// usable reports whether a server's second address is one that can be asked.
func usable(other, first netip.AddrPort) bool {
	a := other.Addr()
	return other.IsValid() && other.Port() != 0 && a.Is6() == first.Addr().Is6() && a != first.Addr() && other.Port() != first.Port() &&
		(a.IsGlobalUnicast() || a.IsLoopback())
}

// filter finds out which datagrams the NAT lets in (RFC 5780, section 4.4). The socket must
// not have sent anything to the server's second address lately.
func (p *Prober) filter(ctx context.Context, s *checked) mesh.Behaviour {
	now, v6 := time.Now(), s.addr.Addr().Is6()
	p.mu.Lock()
	known, at := p.filtering[v6], p.contacted[s.Other.Addr()]
	p.mu.Unlock()
	if now.Sub(known.at) < memory {
		return known.by
	}
	if now.Sub(at) < memory {
		return mesh.BehaviourUnknown
	}
	by := p.findFilter(ctx, s)
	if by != mesh.BehaviourUnknown {
		p.mu.Lock()
		p.filtering[v6] = filtered{by, now}
		p.mu.Unlock()
	}
	return by
}

func (p *Prober) findFilter(ctx context.Context, s *checked) mesh.Behaviour {
	_, err := p.ask(ctx, question{to: s.addr, from: s.Other, change: stun.ChangeIP | stun.ChangePort}, hasty)
	if err == nil {
		return mesh.BehaviourEndpointIndependent
	}
	if !errors.Is(err, errNoAnswer) {
		return mesh.BehaviourUnknown
	}
	from := netip.AddrPortFrom(s.addr.Addr(), s.Other.Port())
	_, err = p.ask(ctx, question{to: s.addr, from: from, change: stun.ChangePort}, hasty)
	switch {
	case err == nil:
		return mesh.BehaviourAddressDependent
	case errors.Is(err, errNoAnswer):
		return mesh.BehaviourAddressPortDependent
	}
	return mesh.BehaviourUnknown
}

// second asks the server's second address how it sees the socket.
func (p *Prober) second(ctx context.Context, s *checked) (observation, bool) {
	to := netip.AddrPortFrom(s.Other.Addr(), s.addr.Port())
	p.mu.Lock()
	if len(p.contacted) >= maxTargets {
		clear(p.contacted)
	}
	p.contacted[to.Addr()] = time.Now()
	p.mu.Unlock()
	a, err := p.ask(ctx, question{to: to}, hasty)
	return observation{to.Addr(), a.Mapped}, err == nil
}
