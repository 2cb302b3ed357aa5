package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// Device is what the loop needs of the data plane. Apply takes the whole
// desired set and touches only what differs.
type Device interface {
	Apply(peers []mesh.PeerConfig) error
	Stats() ([]mesh.PeerStats, error)
	Configure(mtu int, addresses []netip.Prefix) error
	SetListenPort(port uint16) error
	ListenPort() uint16
	Ping(ctx context.Context, addr netip.Addr) (time.Duration, error)
	Events() <-chan struct{}  // a handshake changed the statistics; coalesced
	Done() <-chan struct{}    // closed when the device has died by itself
	Fragmented() []netip.Addr // hosts to which encrypted packets are larger than the path takes
	Close() error
}

// Registry is what the loop needs of one discovery service.
type Registry interface {
	Run(ctx context.Context) error
	Publish(local discovery.Local)
	Changed() <-chan struct{}
	Snapshot() discovery.Snapshot
	Delete(ctx context.Context) error
}

// Firewall is what the loop needs of routing and filtering. Apply takes the
// whole policy and touches only what differs; warnings are about what others on
// this host have set up. What was applied stays until Remove.
type Firewall interface {
	Apply(firewall.Policy) (warnings []string, err error)
	Remove() error
	// Lookup says what the kernel does with a packet, whatever was applied.
	Lookup(firewall.Query, firewall.Policy) (firewall.Explanation, error)
	Changed() <-chan struct{} // somebody else changed what was applied; coalesced
}

// Observer is what the loop needs to know of the host.
type Observer interface {
	Links() ([]mesh.Link, error)
	Underlay() (mesh.Underlay, error)
	FirstMAC() ([]byte, error)
	Changed() <-chan struct{}
}

// Config is everything an Agent is made of.
type Config struct {
	Effective   *Effective
	Reload      func() (*Effective, error) // reads files, environment and flags again
	Keys        state.Keys
	Clock       *state.Clock
	Memory      *state.Memory
	Firewall    Firewall // nil: only mesh addresses are reachable, and nothing is filtered
	Host        Observer
	Backend     Backend
	OpenDevice  func(self mesh.Identity, c *Effective, mtu int) (Device, error)
	NewRegistry func(s Source, c *Effective, nodeID string) (Registry, error)
	Hostname    string // default, when the configuration names none
	OS          string // as announced, such as "Debian GNU/Linux (12)"
	Version     string
	Observed    func(links []mesh.Link) // called by the loop when it has read the host's links; nil: nobody cares
	LeaveOnStop func(*Effective) bool   // whether a stop is a leave; nil: never
	Notify      func(state string)      // sd_notify(3); nil: none
	Watchdog    time.Duration           // half of systemd's; 0: none
	Log         hclog.Logger
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
	resources *Resources
	status    atomic.Pointer[Status]
	requests  chan request
	done      chan struct{} // closed when Run has returned
	started   time.Time

	// Below: owned by Run.
	config      *Effective
	first       *Effective // what the process started with
	self        mesh.Identity
	selfMAC     []byte      // configured when self was made
	links       []mesh.Link // nil: to be read
	lastLinks   []mesh.Link
	underlay    mesh.Underlay
	stale       bool      // the next pass reads and applies everything
	full        bool      // this one does
	disturbed   bool      // because others changed routing or firewall
	calm        time.Time // until then such changes wait
	nextFull    time.Time
	mtu         int
	device      Device
	stats       []mesh.PeerStats
	applied     []mesh.PeerConfig
	configured  bool // the link's settings were applied in this full pass
	failures    int  // applies failed in a row
	previous    mesh.Plan
	waiting     []func() // replies that are due after the next pass
	registries  map[string]*runningRegistry
	answered    bool // a discovery service has, since the start
	routing     routing
	before      firewall.Policy // what of the last run's is still to be held: see settle
	settled     time.Time       // until when; zero: discovery has not answered
	discoveries chan struct{}
	forgetting  sync.WaitGroup
	live        atomic.Pointer[Device]  // for Ping, outside the loop
	shown       atomic.Pointer[outlook] // for Explain, likewise
}

// New checks the configuration and starts nothing.
func New(c Config) (*Agent, error) {
	if c.Effective == nil || c.Host == nil || c.OpenDevice == nil || c.NewRegistry == nil || c.Clock == nil || c.Memory == nil {
		return nil, errors.New("agent: Effective, Host, Clock, Memory, OpenDevice and NewRegistry are required")
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Notify == nil {
		c.Notify = func(string) {}
	}
	if c.Observed == nil {
		c.Observed = func([]mesh.Link) {}
	}
	if c.LeaveOnStop == nil {
		c.LeaveOnStop = func(*Effective) bool { return false }
	}
	a := &Agent{
		cfg: c, log: c.Log, config: c.Effective, first: c.Effective, mtu: c.Effective.mesh(nil).MTU,
		resources: NewResources(), requests: make(chan request), done: make(chan struct{}),
		registries: map[string]*runningRegistry{}, discoveries: make(chan struct{}, 1),
		started: time.Now(), before: c.Memory.Policy(),
	}
	a.status.Store(&Status{
		Version: c.Version, Started: a.started, Updated: a.started, Backend: c.Backend.String(), BackendReason: c.Backend.Reason,
		Discovery: []DiscoveryStatus{}, Peers: []PeerView{}, Conditions: []ConditionView{},
		NotReady: starting, changed: make(chan struct{}),
	})
	return a, nil
}

// Resources is the store behind `wirespan get`.
func (a *Agent) Resources() *Resources { return a.resources }

// Status is the newest one; never nil, not to be changed.
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
		if a.disturbed {
			a.disturbed = false
			a.calm = time.Now().Add(max(minCalm, calmShare*time.Since(start)))
		}
		for _, reply := range a.waiting {
			reply()
		}
		a.waiting = nil
		if !ready {
			a.cfg.Notify("READY=1")
			ready = true
		}
		if err := a.wait(ctx, wake); err != nil || ctx.Err() != nil {
			return a.stop(ctx, err)
		}
	}
}

// stop ends the loop: after a leave nothing is left to do, otherwise the
// affiliate stays, unless the configuration says that stopping is leaving.
func (a *Agent) stop(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errLeft):
		err = nil
	case a.cfg.LeaveOnStop(a.config):
		if err := a.leave(context.WithoutCancel(ctx)); err != nil {
			a.log.Warn("leaving", "error", err)
		}
	default:
		return err
	}
	a.closeDevice() // first, so that nothing passes a tunnel without its rules
	return errors.Join(err, a.unroute())
}

// prepare makes identity and device fit the configuration.
func (a *Agent) prepare() error {
	if err := a.identify(); err != nil {
		return err
	}
	if !a.config.Mesh().Enabled {
		a.closeDevice()
		return a.unroute()
	}
	if a.device != nil {
		return nil
	}
	dev, err := a.cfg.OpenDevice(a.self, a.config, a.mtu)
	if err != nil {
		return fmt.Errorf("opening the device: %w", err)
	}
	a.device, a.applied, a.configured = dev, nil, false
	a.live.Store(&dev)
	return nil
}

// identify computes the identity; it changes with the cluster id and `mac`. A
// host whose MAC changes keeps its address, as in Talos.
func (a *Agent) identify() error {
	mac := a.config.MAC
	if a.self.Subnet == mesh.ULA(a.config.ClusterID) && bytes.Equal(a.selfMAC, mac) {
		return nil
	}
	if mac == nil && !a.cfg.Backend.Netstack {
		var err error
		if mac, err = a.cfg.Host.FirstMAC(); err != nil {
			return err
		}
	}
	self, err := a.cfg.Keys.Identity(a.config.ClusterID, mac)
	if err != nil {
		return err
	}
	if self.Address != a.self.Address {
		a.log.Info("identity", "node", self.NodeID, "address", self.Address, "publicKey", self.PublicKey, "cluster", mesh.ShortClusterID(a.config.ClusterID))
		a.configured = false
	}
	a.self, a.selfMAC = self, a.config.MAC
	return nil
}

func (a *Agent) closeDevice() {
	if a.device == nil {
		return
	}
	a.live.Store(nil)
	if err := a.device.Close(); err != nil {
		a.log.Warn("closing the device", "error", err)
	}
	a.device, a.applied = nil, nil
	// Packet buffers live in pools, which let go of them at the second collection.
	runtime.GC()
	debug.FreeOSMemory()
}

func (a *Agent) shutdown() {
	a.cfg.Notify("STOPPING=1")
	for name := range a.registries {
		a.stopRegistry(name)
	}
	a.closeDevice()
	a.forgetting.Wait()
}
