package path

import (
	"container/heap"
	"math/rand"
	"net/netip"
	"time"
)

// world is a network in virtual time. Addresses are 10.realm.x.y: a host sends to a realm
// from its interface there, so each realm is a path of its own.
type world struct {
	start, now time.Time
	rng        *rand.Rand
	events     events
	count      int    // of events
	ids        uint64 // of keys and handshakes
	homes      map[netip.AddrPort]*iface
	mapped     map[netip.AddrPort]*mapping
	rejects    map[netip.AddrPort]bool // this host refuses to send there
	ways       map[[2]*iface]*way
	nodes      []*node
}

func newWorld(seed int64) *world {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &world{
		start: now, now: now, rng: rand.New(rand.NewSource(seed)),
		homes: map[netip.AddrPort]*iface{}, mapped: map[netip.AddrPort]*mapping{},
		rejects: map[netip.AddrPort]bool{}, ways: map[[2]*iface]*way{},
	}
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

func (w *world) at(t time.Time, do func()) {
	w.count++
	heap.Push(&w.events, event{t, w.count, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

// every repeats from now on for ever.
func (w *world) every(d time.Duration, do func()) {
	w.after(d, func() { do(); w.every(d, do) })
}

// run lets time pass.
func (w *world) run(d time.Duration) { w.until(d, func() bool { return false }) }

// until lets time pass until something is true, at most d, and reports whether it is.
func (w *world) until(d time.Duration, done func() bool) bool {
	end := w.now.Add(d)
	for {
		if done() {
			return true
		}
		if len(w.events) == 0 || w.events[0].at.After(end) {
			w.now = end
			return false
		}
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
}

func (w *world) elapsed() time.Duration { return w.now.Sub(w.start) }

// iface is a host's place in a realm.
type iface struct {
	node *node
	addr netip.AddrPort
	nat  *nat
}

// way is the way from one interface to another.
type way struct {
	delay, jitter time.Duration
	loss          float64
	cut           bool
}

func realm(a netip.AddrPort) byte { return a.Addr().As4()[1] }

func addr(realm, host byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, realm, host, 1}), 51820)
}

// attach gives a node an interface in a realm.
func (w *world) attach(n *node, realm byte, behind natKind) *iface {
	n.addrs++
	i := &iface{node: n, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, realm, n.number, n.addrs}), 51820)}
	if behind != noNAT {
		i.nat = &nat{kind: behind, ip: netip.AddrFrom4([4]byte{10, realm, n.number, 200}), out: map[netip.AddrPort]*mapping{}}
	} else {
		w.homes[i.addr] = i
	}
	n.ifaces = append(n.ifaces, i)
	return i
}

// move changes the address of an interface.
func (w *world) move(i *iface) {
	i.node.addrs++
	if i.nat != nil {
		for _, m := range i.nat.out {
			delete(w.mapped, m.public)
		}
		clear(i.nat.out)
		return
	}
	delete(w.homes, i.addr)
	a4 := i.addr.Addr().As4()
	a4[3] = i.node.addrs
	i.addr = netip.AddrPortFrom(netip.AddrFrom4(a4), i.addr.Port())
	w.homes[i.addr] = i
}

// way returns the way from an interface to another, to be changed.
func (w *world) way(from, to *iface) *way {
	key := [2]*iface{from, to}
	if w.ways[key] == nil {
		w.ways[key] = &way{delay: 10 * time.Millisecond}
	}
	return w.ways[key]
}

// join sets the ways between two interfaces.
func (w *world) join(a, b *iface, set way) { *w.way(a, b), *w.way(b, a) = set, set }

func (w *world) cut(a, b *iface, cut bool) { w.way(a, b).cut, w.way(b, a).cut = cut, cut }

type natKind int

const (
	noNAT natKind = iota
	fullCone
	portRestricted
	symmetric
)

func (k natKind) String() string {
	return [...]string{"none", "full cone", "restricted", "symmetric"}[k]
}

type nat struct {
	kind  natKind
	ip    netip.Addr
	ports uint16
	out   map[netip.AddrPort]*mapping // by destination with a symmetric NAT
}

type mapping struct {
	home   *iface
	public netip.AddrPort
	called map[netip.AddrPort]bool
}

// public returns the address that a destination sees, and opens the NAT for it.
func (w *world) public(i *iface, to netip.AddrPort) netip.AddrPort {
	if i.nat == nil {
		return i.addr
	}
	var key netip.AddrPort
	if i.nat.kind == symmetric {
		key = to
	}
	m := i.nat.out[key]
	if m == nil {
		i.nat.ports++
		m = &mapping{home: i, public: netip.AddrPortFrom(i.nat.ip, 20000+i.nat.ports), called: map[netip.AddrPort]bool{}}
		i.nat.out[key], w.mapped[m.public] = m, m
	}
	m.called[to] = true
	return m.public
}

// home returns who gets what is sent to an address.
func (w *world) home(to netip.AddrPort) *iface {
	if m := w.mapped[to]; m != nil {
		return m.home
	}
	return w.homes[to]
}

// filtered reports whether a NAT keeps a datagram out.
func (w *world) filtered(from, to netip.AddrPort) bool {
	m := w.mapped[to]
	return m != nil && m.home.nat.kind != fullCone && !m.called[from]
}

// send sends a datagram, and reports whether this host let it out.
func (w *world) send(n *node, to netip.AddrPort, p packet) bool {
	from := n.iface(realm(to))
	if from == nil || w.rejects[to] {
		return false
	}
	n.note(to, p)
	source := w.public(from, to)
	target := w.home(to)
	if target == nil || target.node == n {
		return true
	}
	way := w.way(from, target)
	if way.cut || w.rng.Float64() < way.loss {
		return true
	}
	delay := way.delay
	if way.jitter > 0 {
		delay += time.Duration(w.rng.Int63n(int64(way.jitter)))
	}
	w.after(delay, func() {
		if home := w.home(to); home == target && !way.cut && !w.filtered(source, to) {
			target.node.receive(source, p)
		}
	})
	return true
}
