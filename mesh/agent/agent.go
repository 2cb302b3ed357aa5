package agent

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// Device is what the loop needs of the data plane. Apply takes the whole
// desired set of peers and touches only those that differ.
type Device interface {
	Apply(peers []mesh.PeerConfig) error
	Stats() ([]mesh.PeerStats, error)
	Configure(mtu int, addresses []netip.Prefix) error
	SetListenPort(port uint16) error
	SetPrivateKey(key mesh.PrivateKey) error // peers stay, and get new sessions at once
	HostChanged()                            // addresses, links or default routes of this host did: paths are looked at again
	ListenPort() uint16
	Ping(ctx context.Context, addr netip.Addr, size int) (time.Duration, error)
	Events() <-chan struct{}  // a handshake changed the statistics, or refusals among Attempts did; coalesced
	Called() <-chan struct{}  // a standby peer has started a handshake, and packets wait for the Apply that gives it its networks
	Done() <-chan struct{}    // closed when the device has died by itself
	Fragmented() []netip.Addr // hosts to which encrypted packets are larger than the path takes
	// DroppedInitiations counts the handshakes that were not started, since too many
	// were with addresses that have not answered.
	DroppedInitiations() uint64
	// Attempts returns what was lately sent to whom, and what this host refuses to send.
	Attempts() []mesh.Attempt
	// Returned counts the encrypted packets that this host routed back into the tunnel.
	Returned() uint64
	SetSTUN(mesh.STUN)             // takes up a change at once
	Mapped() []netip.AddrPort      // the device's port as STUN servers see it; Events signals a change
	Translation() mesh.Translation // likewise, whether there is a NAT
	Mapping() mesh.Behaviour       // likewise, how the NAT maps the port, for IPv4
	SetRelays(mesh.RelayWish)      // takes up a change at once
	Relays() []mesh.RelayStatus    // in the order of the wish; Events signals a change
	Close() error
}

// Registry is what the loop needs of one discovery service.
type Registry interface {
	Run(ctx context.Context) error
	Publish(local discovery.Local)
	Moved() // the way of the connection may be gone, or there may be one again: it is made anew at once
	Changed() <-chan struct{}
	Snapshot() discovery.Snapshot
	Delete(ctx context.Context, last mesh.Affiliate) error // leaves last there, if it is signed
}

// Firewall is what the loop needs of routing and filtering. Apply takes the
// whole policy and touches only what differs; warnings are conditions about what
// other programs on this host have set up. What was applied stays until Remove.
type Firewall interface {
	// Apply puts a policy in place, as far as the kernel can. An error that is
	// firewall.ErrUnfiltered says that peers must not be connected.
	Apply(firewall.Policy) (warnings []mesh.Condition, err error)
	// Lacks returns what the kernel lacks, as far as policies needed it so far.
	Lacks() firewall.Lacks
	Remove() error
	// Lookup returns what the kernel does with a packet, whatever was applied.
	Lookup(firewall.Query, firewall.Policy) (firewall.Explanation, error)
	Changed() <-chan struct{} // another program changed what was applied; coalesced
}

// Host is what the loop needs to know of this machine.
type Host interface {
	Links() ([]mesh.Link, error)
	Underlay() (mesh.Underlay, error)
	// Hostname returns what the machine is called now; it is empty if it has no name.
	Hostname() string
	Changed() <-chan struct{}
}

// Ports has the gateway map ports to this host.
type Ports interface {
	Set(mesh.PortWish) // takes up a change at once
	Report() mesh.PortMapping
	Changed() <-chan struct{}
	Release(ctx context.Context) // removes the mappings for good
}

// Relaying relays for the members of the mesh.
type Relaying interface {
	Set(mesh.RelayService)    // takes up a change at once
	Port() uint16             // of requests, by UDP, TCP and TLS; 0: nothing is offered
	Usage() []mesh.RelayUsage // sorted by member
	Conditions() []mesh.Condition
	Changed() <-chan struct{} // the port or the conditions did
}

// Config is everything an Agent is made of.
type Config struct {
	Effective  *Effective
	Reload     func() (*Effective, error) // reads files, environment and flags again
	Keys       state.Keys
	Clock      *state.Clock
	Memory     *state.Memory
	Sequence   *state.Sequence
	Rotation   *state.Rotation // nil: the WireGuard key never changes
	Cache      Cache           // nil: none
	Firewall   Firewall        // nil: only mesh addresses are reachable, and nothing is filtered
	Host       Host
	Ports      Ports    // nil: no port is mapped
	Relaying   Relaying // nil: this node relays for nobody
	Backend    Backend
	OpenDevice func(self mesh.Identity, c *Effective, mtu int) (Device, error)
	// Mesh is told by the loop what concerns the members of an own mesh; nil: not called.
	Mesh        func(MeshView)
	Refresh     func() (*Effective, error) // the present configuration with what the node knows now; nil: no Refresh
	Accepting   func(mesh.Affiliate) error // called by the loop before a node is accepted; an error prevents it; nil: not called
	NewRegistry func(s Source, c *Effective, keys state.Keys) (Registry, error)
	OS          string // as announced, such as "Debian GNU/Linux (12)"
	Version     string
	// Observed is called by the loop when it has read the host's links. It returns what is
	// wrong with them; nil: not called.
	Observed    func(links []mesh.Link) []mesh.Condition
	Services    Services              // what serves programs of this host; nil: nothing
	LeaveOnStop func(*Effective) bool // whether a stop is a leave; nil: never
	Notify      func(state string)    // sd_notify(3); nil: none
	Watchdog    time.Duration         // half of systemd's; 0: none
	Log         hclog.Logger
}

// Services are what a node runs for programs of its host, in so far as people have to know
// that it does not run.
type Services interface {
	Conditions() []mesh.Condition
	Changed() <-chan struct{} // notified when the conditions have changed
}

// Backend says which data plane runs, and why.
type Backend struct {
	Netstack bool
	Reason   string
}

func (b Backend) String() string {
	if b.Netstack {
		return "netstack"
	}
	return "tun"
}

// Agent runs the loop. Make one with [New].
type Agent struct {
	cfg       Config
	log       hclog.Logger
	started   time.Time
	done      chan struct{} // closed when Run has returned
	requests  chan request
	resources *Resources
	status    atomic.Pointer[Status]
	live      atomic.Pointer[Device]  // of plane, for Ping
	shown     atomic.Pointer[outlook] // for Explain
	names     atomic.Pointer[mesh.Names]

	// What follows is owned by Run.

	config   *Effective
	first    *Effective // what the process started with
	self     mesh.Identity
	selfMAC  []byte     // configured when self was made
	previous *mesh.Plan // of the last pass; others read it, too
	left     bool       // the node has left the mesh
	named    namedFor
	paths    pathViews
	notified string // the status that the service manager has
	// presented is what the resource store shows of affiliates.
	presented presented
	host      hostView
	sources   sources
	schedule  schedule
	plane     plane
	routing   routing
	pinning   settling
	retained  retained
	record    record

	remembering remembering
	refused     map[string]bool // statements that the mesh's authority has not signed
	rotating    rotating
	relaying    relaying
	steps       steps
}

// hostView is this machine as last observed.
type hostView struct {
	links     []mesh.Link // nil: to be read
	lastLinks []mesh.Link
	moved     bool // since peers were last applied
	redial    bool // likewise, since registries were told
	severed   severed
	underlay  mesh.Underlay
	notes     []mesh.Condition // of Observed
	mtu       int              // of the tunnel, as it follows from links and configuration
	moves     int              // how often the host said that something has changed
}

// New checks the configuration and starts nothing.
func New(c Config) (*Agent, error) {
	if c.Effective == nil || c.Host == nil || c.OpenDevice == nil || c.NewRegistry == nil || c.Clock == nil || c.Memory == nil || c.Sequence == nil {
		return nil, errors.New("agent: Effective, Host, Clock, Memory, Sequence, OpenDevice and NewRegistry are required")
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Notify == nil {
		c.Notify = func(string) {}
	}
	if c.Observed == nil {
		c.Observed = func([]mesh.Link) []mesh.Condition { return nil }
	}
	if c.Mesh == nil {
		c.Mesh = func(MeshView) {}
	}
	if c.LeaveOnStop == nil {
		c.LeaveOnStop = func(*Effective) bool { return false }
	}
	a := &Agent{
		cfg: c, log: c.Log, config: c.Effective, first: c.Effective, started: time.Now(),
		resources: NewResources(), requests: make(chan request), done: make(chan struct{}),
		host:     hostView{mtu: c.Effective.mtu(nil)},
		sources:  sources{running: map[string]*runningRegistry{}, changed: mesh.NewSignal()},
		retained: retained{policy: c.Memory.Policy()},
		previous: &mesh.Plan{},
		record:   newRecord(),
		refused:  map[string]bool{},
	}
	a.nameNodes(&mesh.Plan{})
	a.status.Store(&Status{
		Version: c.Version, Started: a.started, Updated: a.started, Backend: c.Backend.String(), BackendReason: c.Backend.Reason,
		Names: []string{}, Discovery: []DiscoveryStatus{}, Peers: []PeerView{}, Conditions: []ConditionView{},
		Relays: []mesh.RelayView{}, Relaying: mesh.RelayingView{Members: []mesh.RelayUsage{}},
		NotReady: starting, changed: make(chan struct{}),
	})
	return a, nil
}

// Resources returns the store behind `wirespan get`.
func (a *Agent) Resources() *Resources { return a.resources }

// Status returns the newest status. It is never nil, and not to be changed.
func (a *Agent) Status() *Status { return a.status.Load() }

// starting is why an agent is not ready before its first look at the world.
const starting = "the agent has just started"

// errLeft ends the loop after a leave.
var errLeft = errors.New("left the mesh")

// Run runs the loop until ctx is done or the node has left. It returns when
// everything it started has stopped.
func (a *Agent) Run(ctx context.Context) error {
	defer close(a.done)
	defer a.shutdown()
	if err := a.observe(); err != nil {
		a.log.Warn("host", "error", err) // a sandbox without netlink: shown as a condition too
	}
	if err := a.prepare(); err != nil {
		return err
	}
	ready := false
	for {
		start := time.Now()
		wake := a.reconcile(start)
		a.schedule.settle(start, time.Now())
		if !ready {
			a.cfg.Notify("READY=1")
			ready = true
		}
		a.notifyStatus()
		if err := a.wait(ctx, wake); err != nil || ctx.Err() != nil {
			return a.stop(ctx, err)
		}
	}
}

// notifyStatus tells the service manager whether this node is ready, and why it is not.
func (a *Agent) notifyStatus() {
	text := "STATUS=ready"
	if s := a.Status(); !s.Ready {
		text = "STATUS=not ready: " + strings.Join(strings.Fields(s.NotReady), " ")
	}
	if text != a.notified {
		a.notified = text
		a.cfg.Notify(text)
	}
}

// stop ends the loop. The affiliate stays, unless the node has left or the
// configuration says that stopping is leaving; then what was applied goes, too.
func (a *Agent) stop(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errLeft):
		err, a.left = nil, true
		if a.cfg.Cache != nil {
			if err := a.cfg.Cache.Drop(); err != nil {
				a.log.Warn("leaving", "error", err)
			}
		}
	case a.cfg.LeaveOnStop(a.config):
		if err := a.leave(context.WithoutCancel(ctx)); err != nil {
			a.log.Warn("leaving", "error", err)
		}
	default:
		return err
	}
	a.releasePorts(ctx)
	a.closeDevice() // first, so that nothing passes a tunnel without its rules
	return errors.Join(err, a.unroute())
}

func (a *Agent) shutdown() {
	a.cfg.Notify("STOPPING=1")
	a.flush()
	for _, r := range a.sources.running {
		a.stopRegistry(r)
	}
	a.closeDevice()
	a.sources.forgetting.Wait()
}
