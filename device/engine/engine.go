package engine

import (
	"bytes"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device/clamp"
	"github.com/wirespan/wirespan/device/path"
	"github.com/wirespan/wirespan/mesh"
)

// EchoSize is the size, in bytes, of an echo request as a packet. The peer's reply is as
// large. In both directions, packets of that size alone do not count as data that should be
// answered, or two idle nodes would test each other in turns for ever. Few others have it.
const EchoSize = 168

// echoMessage is the size of such a packet as a message: padded and encrypted.
const echoMessage = (EchoSize+15)&^15 + wireguard.MessageTransportSize

// Device is what the engine asks of the WireGuard device. Peers may be gone.
type Device interface {
	// Initiate starts a handshake if wanted, which it calls when no other one can start.
	// With restart, it does so at once and ends the session; else upstream ignores it
	// within 5 s of its last initiation or response.
	Initiate(peer mesh.Key, restart bool, wanted func() bool)
	// Keepalive sends a keepalive.
	Keepalive(peer mesh.Key)
	// Rest ends the repetition of the last initiation.
	Rest(peer mesh.Key)
	// Echo asks an address for an echo through the tunnel, by a packet of EchoSize. It calls
	// done, with the time that took, when it comes back. It does not wait.
	Echo(to netip.Addr, done func(rtt time.Duration))
	// Probe is Echo with a packet of that size, which is marked for the engine
	// ([inflight.Probe]).
	Probe(to netip.Addr, size int, done func(rtt time.Duration))
	// MTU returns the tunnel's; 0 if it is not known.
	MTU() int
	// Limit says how large the packets to peers should be; nil: as large as they are.
	Limit(limits *clamp.Table)
}

// Engine chooses the paths to the peers of a device. Use New.
type Engine struct {
	self    mesh.Key
	start   time.Time
	changed func() // a peer's path has changed; must not block
	wake    mesh.Signal
	indexes indexes
	stun    stunPort
	whole   wholeSender // nil: the sockets can't, and the MTU of paths is not looked for
	relays  relays      // nil: the sockets have none

	mu     sync.Mutex // guards what follows, and much of each peer
	bind   *recorder  // the sockets
	device Device
	budget path.Budget
	peers  map[mesh.Key]*peer
	at     map[netip.Addr]*peer // by the address that answers echo requests
	asking *peer                // whose initiation the device was asked for, until it makes it
	ending bool                 // that ends sessions
	since  time.Time            // when the device began to make it
	queue  []*peer              // those with verbs for the device
	probes path.ProbeBudget
	asked  []probe // for the device to send
	// The device does not know the limits of all peers yet.
	relimit bool
}

// relays is a bind that sends by relays, to endpoints of mesh.Via.
type relays interface {
	// CheckRelay asks a relay at once whether it is there. It does not wait.
	CheckRelay(name string)
}

// New returns an Engine and the bind for the device. Self is this node's public key; changed
// is called when a path was found, lost or replaced, or when the host begins or ceases to
// refuse packets. It must not block.
func New(self mesh.Key, sockets conn.Bind, log hclog.Logger, changed func()) (*Engine, *Bind) {
	e := &Engine{
		self: self, start: time.Now(), changed: changed, wake: mesh.NewSignal(), indexes: newIndexes(),
		bind: &recorder{Bind: sockets, log: log}, peers: map[mesh.Key]*peer{},
	}
	e.whole, _ = sockets.(wholeSender)
	e.relays, _ = sockets.(relays)
	return e, &Bind{Bind: e.bind, engine: e}
}

// Remember makes the engine remember from now on what is sent to whom, for
// [Engine.Attempts]. It must be called before the device sends.
func (e *Engine) Remember() {
	e.bind.attempts = &attempts{changed: e.changed, by: map[netip.AddrPort]attempt{}}
}

// Attempts returns the handshakes of the last minutes, and the addresses to which this host
// refuses to send, sorted by address.
func (e *Engine) Attempts() []mesh.Attempt {
	if e.bind.attempts == nil {
		return nil
	}
	return e.bind.attempts.list(time.Now())
}

// Attach sets the device. Until then, it is asked for nothing.
func (e *Engine) Attach(d Device) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.device = d
	e.wake.Notify()
}

// SetPeers replaces the peers. Of a peer without Race, the caller gives the endpoint to the
// device, and the engine only bounds handshakes with addresses that have not answered.
func (e *Engine) SetPeers(peers []mesh.PeerConfig) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.budget.SetPeers(len(peers))
	gone := e.peers
	e.peers, e.at = make(map[mesh.Key]*peer, len(peers)), make(map[netip.Addr]*peer, len(peers))
	for i := range peers {
		c := &peers[i]
		p := gone[c.PublicKey]
		if p == nil {
			p = &peer{
				key: c.PublicKey, mac: macKey(c.PublicKey),
				path: path.New(bytes.Compare(e.self[:], c.PublicKey[:]) < 0, &e.budget),
			}
		}
		delete(gone, c.PublicKey)
		e.peers[c.PublicKey] = p
		if p.standby && !c.Standby { // it has called
			p.path.Called(now)
		}
		if p.sequence != c.Sequence {
			p.path.News(now)
		}
		p.race, p.standby, p.address, p.sequence = c.Race, c.Standby, c.Address, c.Sequence
		p.networks = c.AllowedIPs
		e.at[p.address] = p
		p.setCandidates(c.Candidates, now)
	}
	for _, p := range gone {
		e.indexes.remove(p)
	}
	e.limit()
	e.wake.Notify()
}

// setCandidates hands over the endpoints of a peer, and forgets what it had for others.
func (p *peer) setCandidates(list []mesh.Candidate, now time.Time) {
	candidates := make([]path.Candidate, len(list))
	for i, c := range list {
		candidates[i] = path.Candidate{Addr: c.Endpoint, Rank: c.Rank, Relayed: c.Rank == mesh.RankRelayed && c.Endpoint.Addr().Zone() == ""}
	}
	p.path.SetCandidates(now, candidates)
	p.wake, p.shown = now, nil
}

// SetSelf tells the engine that this node has another public key.
func (e *Engine) SetSelf(self mesh.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.self = self
	for key, p := range e.peers {
		p.path.Rekeyed(bytes.Compare(self[:], key[:]) < 0)
	}
}

// Handshake notes the last handshake that the device has completed with a peer, and where
// it sends to.
func (e *Engine) Handshake(key mesh.Key, at time.Time, endpoint netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peers[key]
	if p == nil || at.IsZero() || at.Equal(p.handshake) {
		return
	}
	p.handshake, p.message = at, nil
	now := time.Now()
	if !p.path.Settled() {
		e.stun.doubted()
	}
	p.path.Session(now, endpoint)
	p.unanswered.Store(0)
	e.soon(p, now)
	e.changed()
}

// Changed says that addresses, routes or links of this host have changed, or that it was
// asleep. To each peer with a session something is sent at once: from it, the peer learns
// where this node is now.
func (e *Engine) Changed() {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.peers {
		p.path.Changed(now)
		if !p.race && !p.handshake.IsZero() && now.Sub(p.handshake) < wireguard.RejectAfterTime {
			_ = e.do(p, []path.Action{{Do: path.Keepalive}})
		}
		e.soon(p, now)
	}
}

// Path returns what is known about the path to a peer; nil if the engine does not choose
// it. It is the same pointer until something changes.
func (e *Engine) Path(key mesh.Key) *mesh.PeerPath {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peers[key]
	if p == nil || !p.race {
		return nil
	}
	if p.shown == nil {
		p.shown = show(p.path.Status(time.Now()), p.mtu.Fits())
	}
	return p.shown
}

// show returns a status as the mesh knows it.
func show(s path.Status, mtu int) *mesh.PeerPath {
	out := &mesh.PeerPath{
		Settled: s.Settled, Troubled: s.Troubled, RTT: s.RTT, Loss: s.Loss, Changes: s.Changes, MTU: mtu,
		Candidates: make([]mesh.Tried, 0, len(s.Candidates)),
	}
	for _, c := range s.Candidates {
		out.Candidates = append(out.Candidates, mesh.Tried{
			Endpoint: c.Addr, Rank: c.Rank, Announced: c.Listed, Result: string(c.Result), Why: c.Why,
			RTT: c.RTT, Sent: c.Sent, Answered: c.Answered,
		})
	}
	return out
}

// Dropped returns how many datagrams were not sent since too many went to addresses that
// have not answered.
func (e *Engine) Dropped() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.budget.Dropped()
}

// clock returns the nanoseconds since the engine was made. They are never 0.
func (e *Engine) clock() int64 { return int64(time.Since(e.start)) | 1 }

// time returns the time of a clock reading; zero for 0.
func (e *Engine) time(clock int64) time.Time {
	if clock == 0 {
		return time.Time{}
	}
	return e.start.Add(time.Duration(clock))
}

// soon has the engine look at a peer. The caller holds mu.
func (e *Engine) soon(p *peer, now time.Time) {
	p.wake, p.shown = now, nil
	e.wake.Notify()
}

func (e *Engine) poke(p *peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.soon(p, time.Now())
}
