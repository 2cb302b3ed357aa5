package nodetest

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Router carries UDP datagrams between hosts. It is a tree of networks: the
// internet, and below it networks behind gateways (see [Network.Behind]).
//
// A datagram leaves the sender's networks at once and is translated there. After
// the delay of the sender's line it enters the receiver's networks, whose gateways
// decide then. After the delay of the receiver's line it arrives. Datagrams with
// the same delay keep their order.
type Router struct {
	mu       sync.Mutex // guards all networks, gateways, hosts and sockets
	seed     uint64
	internet *Network
	hosts    int     // made so far
	due      []event // sorted by time
	drop     func(Datagram) bool
	detour   func(Datagram) time.Duration
	captures []*Capture
}

// event is something that happens later. Events of the same time happen in the order
// in which they were scheduled.
type event struct {
	at time.Time
	do func()
}

// NewRouter returns a router with an empty internet. The seed decides which
// datagrams are lost.
func NewRouter(seed uint64) *Router {
	r := &Router{seed: seed}
	r.internet = &Network{router: r}
	return r
}

// Internet returns the network to which all others are connected.
func (r *Router) Internet() *Network { return r.internet }

// Drop makes the router lose the datagrams for which drop returns true. It sees
// them as their hosts send them. Nil, as in the beginning, loses none.
func (r *Router) Drop(drop func(Datagram) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop = drop
}

// Detour makes datagrams take longer than their lines do, by what detour returns. It sees
// them as their hosts send them. With nil, as in the beginning, none does.
func (r *Router) Detour(detour func(Datagram) time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detour = detour
}

// Capture records, from now on, the datagrams for which keep returns true; all, if
// it is nil. It sees them as their hosts send them, lost ones included.
func (r *Router) Capture(keep func(Datagram) bool) *Capture {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Capture{router: r, keep: keep}
	r.captures = append(r.captures, c)
	return c
}

// after calls do, with mu held, when delay has passed. The caller holds mu.
func (r *Router) after(delay time.Duration, do func()) {
	e := event{time.Now().Add(delay), do}
	i, _ := slices.BinarySearchFunc(r.due, e, func(a, b event) int {
		return cmp.Or(a.at.Compare(b.at), -1) // behind those of the same time
	})
	r.due = slices.Insert(r.due, i, e)
	time.AfterFunc(delay, r.run)
}

// run does what is due. Timers of the same time end in any order, so each of them
// does all of it.
func (r *Router) run() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for now := time.Now(); len(r.due) > 0 && !r.due[0].at.After(now); {
		do := r.due[0].do
		r.due = slices.Delete(r.due, 0, 1)
		do()
	}
}

// send sends a datagram from a host. The caller holds mu.
func (r *Router) send(from *Host, d Datagram) {
	for _, c := range r.captures {
		c.add(d)
	}
	if r.drop != nil && r.drop(d) || from.loses() {
		return
	}
	delay := from.line.Delay
	if r.detour != nil {
		delay += r.detour(d)
	}
	n, d, ok := from.network.leave(d)
	if !ok {
		return
	}
	r.after(delay, func() {
		to, d, ok := n.enter(d)
		if !ok || to.loses() {
			return
		}
		r.after(to.line.Delay, func() { to.receive(d) })
	})
}

// Network is the internet, or a network behind a gateway. Its hosts reach each
// other, and through the gateway the network outside. In the reverse direction,
// the gateway decides.
type Network struct {
	router *Router
	uplink *gateway // nil: the internet
	hosts  []*Host
	below  []*gateway // whose outside this is
}

// Behind returns a new network behind a gateway. The gateway has the outside
// addresses, at most one per family: what it has no address for, it does not
// translate and drops. A [Firewall] translates nothing and has none.
func (n *Network) Behind(kind Kind, outside ...string) *Network {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	inside := &Network{router: n.router}
	inside.uplink = &gateway{kind: kind, addresses: addresses(outside), outside: n, inside: inside, port: firstPort}
	n.below = append(n.below, inside.uplink)
	return inside
}

// Rebind makes the network's gateway forget its mappings, as a restart does: what
// hosts send next gets other ports.
func (n *Network) Rebind() {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	n.uplink.mappings = nil
}

// Host returns a new host in the network. It sends from the first of its addresses
// of a family, and its [Line] has a delay of [DefaultDelay].
func (n *Network) Host(own ...string) *Host {
	n.router.mu.Lock()
	defer n.router.mu.Unlock()
	n.router.hosts++
	h := &Host{
		network: n, addresses: addresses(own), line: Line{Delay: DefaultDelay}, port: firstPort,
		changed: mesh.NewSignal(), sockets: map[uint16]*socket{}, listeners: map[uint16]*Listener{},
		random: rand.New(rand.NewPCG(n.router.seed, uint64(n.router.hosts))),
	}
	n.hosts = append(n.hosts, h)
	return h
}

func (n *Network) host(a netip.Addr) *Host {
	for _, h := range n.hosts {
		if slices.Contains(h.addresses, a) {
			return h
		}
	}
	return nil
}

// gateway returns the gateway below n that datagrams to a are for.
func (n *Network) gateway(a netip.Addr) *gateway {
	for _, g := range n.below {
		if g.kind == Firewall && g.inside.has(a) || slices.Contains(g.addresses, a) {
			return g
		}
	}
	return nil
}

func (n *Network) has(a netip.Addr) bool { return n.host(a) != nil || n.gateway(a) != nil }

// leave takes a datagram through gateways to the first network that has its
// destination.
func (n *Network) leave(d Datagram) (*Network, Datagram, bool) {
	for !n.has(d.Destination.Addr()) {
		if n.uplink == nil || !n.uplink.translateOutbound(&d) {
			return nil, d, false
		}
		n = n.uplink.outside
	}
	return n, d, true
}

// enter takes a datagram through gateways to the host that it is for.
func (n *Network) enter(d Datagram) (*Host, Datagram, bool) {
	for {
		if h := n.host(d.Destination.Addr()); h != nil {
			return h, d, true
		}
		g := n.gateway(d.Destination.Addr())
		if g == nil || !g.translateInbound(&d) {
			return nil, d, false
		}
		n = g.inside
	}
}

func addresses(list []string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}
