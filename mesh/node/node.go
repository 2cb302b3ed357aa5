package node

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/wirespan/wirespan/discovery/cache"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/access"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/host"
	"github.com/wirespan/wirespan/mesh/state"
	"github.com/wirespan/wirespan/mesh/unixsocket"
)

// Config configures a node. Only Config is required.
type Config struct {
	Config  *config.Config                 // as loaded; if it names no cluster, that of Token or of the state directory is used
	Load    func() (*config.Config, error) // loads the configuration again; nil: no reload
	Files   []string                       // the files that Load reads; they stay readable when privileges are dropped
	Hangups <-chan os.Signal               // each signal reloads, as SIGHUP does; nil: none
	Token   *config.Token                  // of the cluster to join, for whose founder Open waits; nil: the cluster of the state directory, or a new one
	// ShowToken shows a founder's join token to the user, and reports whether it did. It
	// is called again whenever the token changes. The token is also written to a file.
	ShowToken func(token string) bool
	Command   control.Command // of the control socket; nil: clients run their commands
	Opened    func(Stack)     // called with each new stack of the netstack backend; nil: not called
	// Exclusive is for a process that runs nothing but this node: the node drops the
	// process's privileges, notifies the service manager (sd_notify(3)), may set the clock,
	// and serves sockets at the default paths.
	Exclusive bool
	Machine   Machine // default: the real one
	Version   string
	Built     time.Time    // when the program was; zero: not known. An earlier clock is wrong
	Log       hclog.Logger // default: none
}

// logger returns Log or its default.
func (c Config) logger() hclog.Logger {
	if c.Log == nil {
		return hclog.NewNullLogger()
	}
	return c.Log
}

// Node is an open node. Use [Open].
type Node struct {
	cfg    Config
	log    hclog.Logger
	config *config.Config // as last loaded
	state  *state.Dir
	keys   state.Keys

	founding
	membership membership
	plane      *dataPlane
	mark       uint32 // of encrypted packets, and of what else must not enter the tunnel

	services atomic.Pointer[[]string] // addresses of discovery services, host:port

	background *background // of Start; nil: the caller runs the node

	agent        *agent.Agent
	relaySecrets relaySecrets
	relaying     *relaying // nil: this build offers no relay

	host    Host
	ports   *ports  // nil: the host has no gateway that could be asked
	kernel  *kernel // nil without routing in the kernel
	access  *access.Services
	metrics control.Metrics // nil: this build has none
	health  []net.Listener  // of health and metrics; none unless configured
	control *control.Server // nil without a control socket
}

// Open locks the state directory, enters the cluster and opens the node's listeners. It
// routes nothing and sends nothing; [Node.Run] does. A node that is not run must be
// closed.
func Open(ctx context.Context, c Config) (n *Node, err error) {
	if n, err = locate(c); err != nil {
		return nil, err
	}
	if err := checkBuild(c.Config); err != nil {
		return nil, err
	}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// locate opens the state directory without its lock, which a running agent may hold.
func locate(c Config) (*Node, error) {
	if c.Config == nil {
		return nil, errors.New("node: Config.Config is required (config.New makes one)")
	}
	dir, err := StateDir(c.Config)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: c, log: c.logger(), config: c.Config, membership: membership{wake: mesh.NewSignal()}, mark: c.Config.Firewall.EncryptedMark}
	n.relaySecrets.node = n
	n.relaySecrets.set(c.Config)
	n.newRelaying()
	n.state, err = state.Open(dir, n.log)
	return n, err
}

// take locks the state directory, and reads the keys or creates them.
func (n *Node) take() (err error) {
	if err := n.state.Lock(); err != nil {
		return err
	}
	n.keys, err = state.LoadKeys(n.state, n.config.IdentityDir, n.log)
	return err
}

// open opens all parts of the node.
func (n *Node) open(ctx context.Context) error {
	if err := n.checkLasting(); err != nil {
		return err
	}
	if err := n.take(); err != nil {
		return err
	}
	backend, err := chooseBackend(n.config.Backend)
	if err != nil && n.config.KubeSpan.Enabled {
		return err
	}
	clock, err := n.openClock()
	if err != nil {
		return err
	}
	if err := n.enter(ctx); err != nil {
		return err
	}
	n.forgetFormerToken()
	if n.founder() {
		if err := n.listen(ctx); err != nil {
			return err
		}
	}
	settings, err := n.effective(n.config)
	if err != nil {
		return err
	}
	n.explain()
	n.plane = &dataPlane{
		backend: backend, name: n.config.InterfaceName, log: n.log.Named("device"),
		machine: &n.cfg.Machine, opened: n.cfg.Opened, sockets: n.cfg.Exclusive && !n.cfg.Machine.NoSockets,
		attached: func(a netip.Addr) { n.access.Attach(a) }, secrets: &n.relaySecrets,
	}
	memory := state.OpenMemory(n.state)
	sequence, err := state.OpenSequence(n.state)
	if err != nil {
		return err
	}
	rotation, err := state.OpenRotation(n.state, n.keys.PrivateKey)
	if err != nil {
		return err
	}
	var routing agent.Firewall
	if routing, n.kernel, err = n.openFirewall(n.plane, memory); err != nil {
		return err
	}
	if n.host = n.cfg.Machine.Host; n.host == nil {
		n.host = host.New(host.Config{EncryptedMark: n.config.Firewall.EncryptedMark, RoutingTable: n.config.Firewall.RoutingTable})
	}
	n.ports = n.newPorts()
	if err := n.openAccess(); err != nil {
		return err
	}
	c := agent.Config{
		Services:  n.access,
		Effective: settings, Keys: n.keys, Clock: clock, Memory: memory, Sequence: sequence, Rotation: rotation, Firewall: routing, Host: n.host,
		Backend: n.plane.backend, OpenDevice: n.plane.open, NewRegistry: n.newRegistry,
		OS: host.OperatingSystem(), Version: n.cfg.Version,
		Mesh: n.membership.viewed, Refresh: n.refreshed, Accepting: n.accepting, Observed: n.linksRead, LeaveOnStop: n.leaveOnStop, Log: n.log,
	}
	if n.state.Root() != config.StateMemory {
		c.Cache = cache.New(n.state, state.CacheFile, n.keys.Own())
	}
	if n.ports != nil {
		c.Ports = n.ports
	}
	if n.relaying != nil {
		n.relaying.attach(&c)
	}
	if n.cfg.Load != nil {
		c.Reload = n.reload
	}
	if n.cfg.Exclusive {
		watchdog, _ := daemon.SdWatchdogEnabled(false)
		c.Notify, c.Watchdog = n.notify, watchdog/2
	}
	if n.agent, err = agent.New(c); err != nil {
		return err
	}
	n.metrics = n.gatherMetrics()
	if err := n.openHealth(ctx); err != nil {
		return err
	}
	return n.openControl()
}

// Close releases what Open opened. Run does so, too; another Close after it does
// nothing. A node of [Start] ends.
func (n *Node) Close() error {
	if n.background != nil {
		return n.background.close()
	}
	if n.control != nil {
		_ = n.control.Close() // Run may have closed it
	}
	return n.release()
}

// release gives back all but the control socket.
func (n *Node) release() error {
	var errs []error
	for _, l := range n.health {
		_ = l.Close() // Run may have closed it
	}
	if k := n.kernel; k != nil {
		n.kernel = nil
		errs = append(errs, k.Close())
	}
	if n.server != nil {
		n.server.close()
	}
	return errors.Join(append(errs, n.state.Close())...)
}

// Run runs the node until ctx is done or it has left the mesh, and closes it. The agent
// ends first: to leave the mesh it needs the embedded discovery server. The control
// socket is closed last, which tells `wirespan down` that everything has ended.
func (n *Node) Run(ctx context.Context) error {
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	socket, last := errgroup.WithContext(last)
	outer, stop := context.WithCancel(last)
	defer stop()
	g, outer := errgroup.WithContext(outer)
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(outer, cancel) // another part failed
	if n.server != nil {
		g.Go(func() error { return n.server.run(outer) })
	}
	if n.control != nil {
		socket.Go(func() error { return n.control.Run(last) })
	}
	g.Go(func() error { return n.host.Run(outer) })
	if k := n.kernel; k != nil {
		g.Go(func() error { return k.Run(outer) })
	}
	if p := n.ports; p != nil {
		g.Go(func() error { p.Run(outer); return nil })
	}
	if r := n.relaying; r != nil {
		g.Go(func() error { return r.run(outer) })
	}
	g.Go(func() error { n.reloadOnHangup(outer); return nil })
	g.Go(func() error { return n.access.Run(outer) })
	for _, l := range n.health {
		g.Go(func() error { return control.ServeHealth(outer, l, n.agent, n.metrics, n.log.Named("health")) })
	}
	if ownMesh(n.config, n.membership.present()) {
		g.Go(func() error { n.followMesh(outer); return nil })
	}
	g.Go(func() error {
		defer stop()
		return n.agent.Run(inner)
	})
	err := errors.Join(g.Wait(), n.release())
	end()
	return errors.Join(err, socket.Wait())
}

// reloadOnHangup reloads on SIGHUP.
func (n *Node) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.cfg.Hangups:
			_, _ = n.agent.Reload(ctx) // the agent logs the outcome
		}
	}
}

// Agent returns the loop, for status, resources, pings and reloads.
func (n *Node) Agent() *agent.Agent { return n.agent }

// reload loads the configuration again. Like observed and notify it is called by the
// agent's loop.
func (n *Node) reload() (*agent.Effective, error) {
	cfg, err := n.cfg.Load()
	if err != nil {
		return nil, err
	}
	if err := checkBuild(cfg); err != nil {
		return nil, err
	}
	e, err := n.effective(cfg)
	if err != nil {
		return nil, err
	}
	n.log.SetLevel(hclog.LevelFromString(cfg.Logging.Level))
	if cfg.KubeSpan.Enabled != n.config.KubeSpan.Enabled {
		n.explainMesh(cfg)
	}
	n.config = cfg
	n.access.Set(&cfg.Wirespan)
	n.relaySecrets.set(cfg)
	if n.relaying != nil {
		n.relaying.reconfigure()
	}
	return e, nil
}

// linksRead takes the host's links, and returns what is wrong with them.
func (n *Node) linksRead(links []mesh.Link) []mesh.Condition {
	if n.relaying != nil {
		n.relaying.observe(links)
	}
	return n.observed(links)
}

// leaveOnStop reports whether the node leaves the mesh when it stops. By default it does
// if its state does not survive a reboot.
func (n *Node) leaveOnStop(e *agent.Effective) bool {
	if e.LeaveOnStop != nil {
		return *e.LeaveOnStop
	}
	return n.state.Ephemeral()
}

// notify notifies the service manager. When the node is ready, it drops privileges first.
func (n *Node) notify(state string) {
	if state == daemon.SdNotifyReady {
		if err := dropPrivileges(n.capabilities(), n.log); err != nil {
			n.log.Warn("privileges", "error", err)
		}
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Debug("notifying the service manager", "error", err)
	}
}

// openControl opens the control socket. At the default path a node runs without one if it
// cannot be opened and the state is in memory, or the file system is full or read-only.
func (n *Node) openControl() error {
	if n.cfg.Machine.NoSockets || !n.cfg.Exclusive && n.config.ControlSocket == "" {
		return nil
	}
	path, err := ControlSocket(n.config)
	if err != nil {
		return err
	}
	c := control.Config{
		Path: path, Mode: fs.FileMode(n.config.ControlSocketMode), Group: n.config.ControlSocketGroup,
		Agent: n.agent, Authority: n.authority(), Netcheck: n.netcheck, Metrics: n.metrics, Command: n.cfg.Command, Log: n.log.Named("control"),
	}
	if n.cfg.Machine.NewStack == nil {
		c.Access = programs{n}
	}
	n.control, err = control.Open(c)
	if err != nil && mayLackSocket(n.config, err) {
		n.log.Warn("running without a control socket: no other command reaches this agent", "error", err)
		return nil
	}
	return err
}

// mayLackSocket reports whether an agent runs without the control socket that it cannot
// make. It does not if it was asked for one, or another agent has it.
func mayLackSocket(c *config.Config, err error) bool {
	if c.ControlSocket != "" || errors.Is(err, unixsocket.ErrInUse) {
		return false
	}
	return c.StateDir == config.StateMemory || state.Unwritable(err)
}
