package path

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// node is a host that runs wirespan, upstream's WireGuard alone, or KubeSpan's rule.
type node struct {
	w       *world
	number  byte // the key: smaller numbers are smaller keys
	addrs   byte
	ifaces  []*iface
	peers   []*peering
	budget  *Budget
	mute    bool // answers no echoes
	sent    map[netip.AddrPort][]time.Time
	answers map[netip.AddrPort]bool // addresses from which something came
	strange []time.Time             // when something was sent to an address that never answered
}

func (w *world) node() *node {
	n := &node{
		w: w, number: byte(len(w.nodes) + 1), budget: &Budget{},
		sent: map[netip.AddrPort][]time.Time{}, answers: map[netip.AddrPort]bool{},
	}
	w.nodes = append(w.nodes, n)
	return n
}

func (n *node) iface(r byte) *iface {
	for _, i := range n.ifaces {
		if realm(i.addr) == r {
			return i
		}
	}
	return nil
}

// note counts what is sent where.
func (n *node) note(to netip.AddrPort, p packet) {
	if p.kind == initiation {
		n.sent[to] = append(n.sent[to], n.w.now)
	}
	if !n.answers[to] && (p.kind == initiation || p.kind == opener) {
		n.strange = append(n.strange, n.w.now)
	}
	if p.kind == response || p.kind == data {
		for _, q := range n.peers {
			if q.far == p.to && q.dev.endpoint != to {
				panic(fmt.Sprintf("%v sent to %v beside the endpoint", p.kind, to))
			}
		}
	}
}

func (n *node) receive(source netip.AddrPort, p packet) {
	if p.kind == opener || p.to != n {
		return
	}
	for _, q := range n.peers {
		if q.far == p.from {
			q.receive(source, p)
		}
	}
}

// peering is one peer of one node, with what the executor keeps.
type peering struct {
	w          *world
	n, far     *node
	dev        *device
	engine     *Peer  // nil: plain WireGuard
	asked      bool   // an initiation of the device
	last       packet // the last initiation
	dirty      bool   // the engine has been told something
	dataTo     netip.AddrPort
	heard      time.Time
	unanswered time.Time
	wakeUp     timer
	steps      int // in this instant
	stepped    time.Time
	echoed     []time.Time // payload that came back
	first      time.Time   // session
	made       int         // initiations
}

// peer makes a peer; lists are set and the device is started by start.
func (n *node) peer(far *node, engine bool) *peering {
	q := &peering{w: n.w, n: n, far: far}
	q.dev = &device{w: n.w, self: n, far: far, owner: q, lazy: engine}
	if engine {
		n.budget.SetPeers(len(n.peers) + 1)
		q.engine = New(n.number < far.number, n.budget)
	}
	n.peers = append(n.peers, q)
	return q
}

// start brings the peer up.
func (q *peering) start(list ...netip.AddrPort) {
	if q.engine != nil {
		q.announce(list...)
	} else if len(list) > 0 {
		q.dev.endpoint = list[0]
	}
	q.dev.sendKeepalive()
	q.step()
}

// announce sets candidates of the same rank.
func (q *peering) announce(list ...netip.AddrPort) {
	all := make([]Candidate, len(list))
	for i, a := range list {
		all[i] = Candidate{Addr: a}
	}
	q.engine.SetCandidates(q.w.now, all)
	q.step()
}

// startCycle runs KubeSpan's rule: an endpoint is left if it has led to no session in an
// interval.
func (q *peering) startCycle(interval time.Duration, list ...netip.AddrPort) {
	turn := 0
	q.start(list...)
	q.w.every(interval, func() {
		if q.first.IsZero() {
			turn++
			q.dev.endpoint = list[turn%len(list)]
		}
	})
}

func (q *peering) step() {
	if q.engine == nil {
		return
	}
	if q.stepped != q.w.now {
		q.stepped, q.steps = q.w.now, 0
	}
	for {
		if q.steps++; q.steps > 50 {
			panic("Step loops")
		}
		q.dirty = false
		acts, wake := q.engine.Step(q.w.now, Observed{q.heard, q.unanswered})
		if !wake.IsZero() && !wake.After(q.w.now) {
			panic(fmt.Sprintf("wake %v is not after now", wake.Sub(q.w.now)))
		}
		q.perform(acts)
		if q.dirty {
			continue
		}
		q.wakeUp.stop()
		if !wake.IsZero() {
			q.dev.arm(&q.wakeUp, wake.Sub(q.w.now), q.step)
		}
		return
	}
}

func (q *peering) perform(acts []Action) {
	for _, a := range slices.Clone(acts) {
		switch a.Do {
		case Initiate, Restart:
			if a.Do == Restart {
				q.dev.expire()
			}
			q.asked = true
			q.dev.initiate(false)
			q.asked = false
		case Open:
			q.copy(a.To, packet{kind: opener, from: q.n, to: q.far})
		case Echo:
			q.dev.sendData(echoRequest, q.w.now)
		case Keepalive:
			q.dev.sendKeepalive()
		case Rest:
			q.dev.rest()
		case Copy:
			q.copy(a.To, q.last)
		}
	}
}

func (q *peering) copy(to netip.AddrPort, p packet) {
	if !q.w.send(q.n, to, p) {
		q.engine.Failed(q.w.now, to, "network is unreachable")
		q.dirty = true
	}
}

// initiated is called by the device.
func (q *peering) initiated(p packet) {
	if q.engine == nil {
		q.send(p)
		return
	}
	q.last = p
	q.made++
	q.perform(q.engine.Made(q.w.now, !q.asked))
	q.later()
}

func (q *peering) send(p packet) {
	to := q.dev.endpoint
	if !to.IsValid() {
		return
	}
	if p.kind == data {
		q.counts(p)
		if q.engine != nil && q.dataTo != to {
			q.dataTo = to
			q.engine.Roamed(q.w.now, to)
		}
	}
	if !q.w.send(q.n, to, p) && q.engine != nil {
		q.engine.Failed(q.w.now, to, "network is unreachable")
	}
	q.later()
}

func (q *peering) counts(p packet) {
	if p.content != keepalive && p.content != echoReply && q.unanswered.IsZero() {
		q.unanswered = q.w.now
	}
}

// later has the engine see what has happened, after the device is done.
func (q *peering) later() {
	if q.engine != nil && !q.dirty {
		q.dirty = true
		q.w.after(0, func() {
			if q.dirty {
				q.step()
			}
		})
	}
}

func (q *peering) responded() {
	if q.engine != nil {
		q.dataTo = q.dev.endpoint
		q.engine.Responded(q.w.now, q.dev.endpoint)
		q.later()
	}
}

func (q *peering) completed() {
	if q.first.IsZero() {
		q.first = q.w.now
	}
	if q.engine != nil {
		q.w.after(10*time.Millisecond, func() {
			q.engine.Session(q.w.now, q.dev.endpoint)
			q.step()
		})
	}
}

func (q *peering) receive(source netip.AddrPort, p packet) {
	q.n.answers[source] = true
	if p.kind == response && q.engine != nil {
		q.engine.Answered(q.w.now, source)
		q.later()
	}
	q.dev.receive(source, p)
}

func (q *peering) received(p packet) {
	q.heard, q.unanswered = q.w.now, time.Time{}
	q.later()
	switch p.content {
	case payload:
		q.dev.sendData(payloadReply, p.born)
	case payloadReply:
		q.echoed = append(q.echoed, q.w.now)
	case echoRequest:
		if !q.n.mute {
			q.dev.sendData(echoReply, p.born)
		}
	case echoReply:
		if q.engine != nil {
			q.engine.Echoed(q.w.now, q.w.now.Sub(p.born))
		}
	}
}
