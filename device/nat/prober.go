package nat

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
)

const (
	// maxTargets is how many addresses of servers are asked.
	maxTargets = 16
	// keepAlive is the time between two requests that keep a mapping: NATs keep one for 30 s
	// at least.
	keepAlive = 25 * time.Second
	// refresh is the time between two requests of which nothing depends.
	refresh = 5 * time.Minute
	// retryFirst and retryLast bound the time after a request without an answer. A server
	// that has answered before is back as soon as the NAT is: it is asked each retryFirst.
	retryFirst = 30 * time.Second
	retryLast  = 10 * time.Minute
	// lookUp is the time between two look-ups of the servers' names; lookUpAgain that after
	// one that failed.
	lookUp        = 30 * time.Minute
	lookUpAgain   = time.Minute
	lookUpTimeout = 10 * time.Second
	// restartGap is the least time between two starts from the beginning, which every
	// change of the host asks for.
	restartGap = time.Second
	// settled is how old an answer must be to be in doubt when another server sees a new
	// mapping, or when Doubt is called.
	settled = 5 * time.Second
)

// Config is what a Prober is made of.
type Config struct {
	// Send sends a message by the socket.
	Send func(msg []byte, to netip.AddrPort) error
	// Resolve returns the addresses of a name; nil: the system's resolver does.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Changed is called when [Prober.Mapped], [Prober.Translation] or [Prober.Mapping] has
	// changed. It must not block.
	Changed func()
}

// Prober learns the mapped addresses of a socket. Use New.
type Prober struct {
	cfg     Config
	wake    mesh.Signal
	pending atomic.Int32 // the size of waiting

	mu          sync.Mutex // guards what follows
	waiting     map[stun.ID]*waiting
	paced       time.Time // when the next request may be sent
	stun        mesh.STUN
	port        uint16
	targets     []*target
	mapped      []netip.AddrPort
	translation mesh.Translation         // of IPv4
	mapping     mesh.Behaviour           // likewise
	contacted   map[netip.Addr]time.Time // second addresses of servers that Check has asked
	filtering   map[bool]filtered        // by whether it is of IPv6
}

// target is an address of a server.
type target struct {
	name  string // as configured
	addr  netip.AddrPort
	again mesh.Signal // another server sees a new mapping

	// Guarded by Prober.mu.
	mapped netip.AddrPort // zero: not known
	asked  time.Time      // when the last answer came
	stale  bool           // the host's addresses have changed since
}

// New returns a Prober, which starts nothing.
func New(c Config) *Prober {
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return &Prober{
		cfg: c, wake: mesh.NewSignal(), waiting: map[stun.ID]*waiting{},
		contacted: map[netip.Addr]time.Time{}, filtering: map[bool]filtered{}, mapping: mesh.BehaviourUnknown,
	}
}

// Set says which servers to ask, and what the socket's own addresses and port are.
func (p *Prober) Set(s mesh.STUN, port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := port != p.port || !slices.Equal(s.Local, p.stun.Local)
	if !moved && s.Moves == p.stun.Moves && slices.Equal(s.Servers, p.stun.Servers) {
		return
	}
	p.stun, p.port = s, port
	if moved {
		for _, t := range p.targets {
			t.stale = true
		}
		clear(p.filtering)
	}
	p.note()
	p.wake.Notify()
}

// Mapped returns the addresses, other than its own, at which others reach the socket.
func (p *Prober) Mapped() []netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mapped
}

// Translation says whether a NAT stands between the socket and the internet, for IPv4.
func (p *Prober) Translation() mesh.Translation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.translation
}

// Mapping returns how the NAT maps the socket's port, for IPv4, as far as the servers tell that
// answer.
func (p *Prober) Mapping() mesh.Behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mapping
}

// Doubt says that the mappings may have changed, as when a path was lost or found. The
// servers are asked again, if they were not just now. It does not block.
func (p *Prober) Doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.targets {
		t.doubt()
	}
}

// doubt asks a server again whose last answer is not new. The caller holds Prober.mu.
func (t *target) doubt() {
	if time.Since(t.asked) > settled {
		t.again.Notify()
	}
}

// note works out the mapped addresses anew. The caller holds mu.
func (p *Prober) note() {
	var mapped []netip.AddrPort
	for _, v6 := range []bool{false, true} {
		mapped = append(mapped, announced(p.observations(v6), p.socket())...)
	}
	seen := p.observations(false)
	t, m := translation(seen, p.socket()), mapping(seen, p.socket())
	if !slices.Equal(mapped, p.mapped) || t != p.translation || m != p.mapping {
		p.mapped, p.translation, p.mapping = mapped, t, m
		p.cfg.Changed()
	}
}

// observations returns what the servers of an IP version have said. The caller holds mu.
func (p *Prober) observations(v6 bool) (list []observation) {
	for _, t := range p.targets {
		if t.addr.Addr().Is6() == v6 && t.mapped.IsValid() {
			list = append(list, observation{t.addr.Addr(), t.mapped})
		}
	}
	return list
}

// socket returns the local side. The caller holds mu.
func (p *Prober) socket() socket { return socket{p.stun.Local, p.port} }

// Run asks the servers until ctx ends.
func (p *Prober) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-p.wake: // what it told of is taken up now
		default:
		}
		asking, cancel := context.WithCancel(ctx)
		var g sync.WaitGroup
		g.Go(func() { p.askAll(asking) })
		_ = sleep(ctx, restartGap)
		select {
		case <-ctx.Done():
		case <-p.wake:
		}
		cancel()
		g.Wait()
	}
}

// askAll asks the servers, and looks up their names again and again.
func (p *Prober) askAll(ctx context.Context) {
	var asked []*target
	stop := func() {}
	for first := true; ctx.Err() == nil; first = false {
		p.mu.Lock()
		servers := p.stun.Servers
		p.mu.Unlock()
		found, without := p.resolve(ctx, servers)
		if ctx.Err() == nil && (first || !slices.EqualFunc(found, asked, func(a, b *target) bool { return a.addr == b.addr })) {
			stop()
			p.adopt(found)
			asked, stop = found, p.followAll(ctx, found)
		}
		wait := lookUp
		if len(without) > 0 {
			wait = lookUpAgain
		}
		_ = sleep(ctx, wait)
	}
	stop()
}

// followAll asks servers until stop is called.
func (p *Prober) followAll(ctx context.Context, targets []*target) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g sync.WaitGroup
	for _, t := range targets {
		g.Go(func() { p.follow(ctx, t) })
	}
	return func() {
		cancel()
		g.Wait()
	}
}

// adopt replaces the targets. What is known of those that stay is kept.
func (p *Prober) adopt(found []*target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range found {
		if o := targetAt(p.targets, t.addr); o != nil {
			t.mapped, t.asked, t.stale = o.mapped, o.asked, o.stale
		}
	}
	p.targets = found
	p.note()
}

// targetAt returns the target with an address; nil: there is none.
func targetAt(list []*target, addr netip.AddrPort) *target {
	for _, t := range list {
		if t.addr == addr {
			return t
		}
	}
	return nil
}

// resolve returns the addresses of the servers, and the servers for which there are none.
func (p *Prober) resolve(ctx context.Context, servers []string) (found []*target, without []mesh.ServerCheck) {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	lists, errs := make([][]netip.AddrPort, len(servers)), make([]error, len(servers))
	var g sync.WaitGroup
	for i, s := range servers {
		g.Go(func() { lists[i], errs[i] = p.lookUp(ctx, s) })
	}
	g.Wait()
	for i, s := range servers {
		if errs[i] != nil {
			without = append(without, mesh.ServerCheck{Server: s, Error: errs[i].Error()})
		}
		for _, a := range lists[i] {
			if len(found) < maxTargets && targetAt(found, a) == nil {
				found = append(found, &target{name: s, addr: a, again: mesh.NewSignal()})
			}
		}
	}
	return found, without
}

// lookUp returns the addresses of a server, of each IP version the first.
func (p *Prober) lookUp(ctx context.Context, server string) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(server); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}, nil
	}
	host, port, err := split(server)
	if err != nil {
		return nil, err
	}
	list, err := p.cfg.Resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, v6 := range []bool{false, true} {
		if i := slices.IndexFunc(list, func(a netip.Addr) bool { return a.Unmap().Is6() == v6 }); i >= 0 {
			out = append(out, netip.AddrPortFrom(list[i].Unmap().WithZone(""), port))
		}
	}
	return out, nil
}

// follow asks one server until ctx ends.
func (p *Prober) follow(ctx context.Context, t *target) {
	retry := retryFirst
	for ctx.Err() == nil {
		a, err := p.ask(ctx, question{to: t.addr}, patient)
		if ctx.Err() != nil {
			return
		}
		var wait time.Duration
		if err != nil {
			wait, retry = retry, min(2*retry, retryLast)
			if p.lost(t) {
				retry = retryFirst
			}
		} else {
			select {
			case <-t.again: // that was answered, too
			default:
			}
			wait, retry = p.heard(t, a.Mapped), retryFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.again:
		}
		timer.Stop()
	}
}

// heard notes an answer, and returns when to ask again.
func (p *Prober) heard(t *target, mapped netip.AddrPort) time.Duration {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	keeper := true // it is the first that answers, of its IP version
	for _, o := range p.targets {
		if o == t {
			break
		}
		keeper = keeper && (!o.mapped.IsValid() || o.addr.Addr().Is6() != t.addr.Addr().Is6())
	}
	if t.mapped.IsValid() && t.mapped != mapped { // the NAT has forgotten the mapping
		for _, o := range p.targets {
			if o != t && o.addr.Addr().Is6() == t.addr.Addr().Is6() {
				o.doubt()
			}
		}
	}
	t.mapped, t.asked, t.stale = mapped, now, false
	p.note()
	if keeper && p.socket().behindNAT(mapped) {
		return keepAlive
	}
	return refresh
}

// lost notes that a server does not answer, and reports whether it ever did. What it said
// holds for a while: a server that is away does not change the NAT.
func (p *Prober) lost(t *target) (answered bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.mapped.IsValid() && (t.stale || time.Since(t.asked) > 2*refresh) {
		t.mapped = netip.AddrPort{}
		p.note()
	}
	return !t.asked.IsZero()
}

// split takes "host:port" apart.
func split(server string) (host string, port uint16, err error) {
	host, number, err := net.SplitHostPort(server)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("STUN server %q: %w", server, err)
	}
	return host, uint16(n), nil
}
