package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/host"
	"github.com/wirespan/wirespan/mesh/state"
	"github.com/wirespan/wirespan/mesh/unixsocket"
)

func (c *cli) up() *cobra.Command {
	var join string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the agent, in the foreground",
		Long: "Run the agent, in the foreground.\n\n" +
			"Without a configuration that names a cluster, the first box founds one: it runs\n" +
			"the discovery server and gives a join token for the next. With --join a box joins\n" +
			"that cluster. Both are kept in the state directory, so that a plain wirespan up\n" +
			"continues from then on.",
		Example: "  wirespan up\n" +
			"  wirespan up --join @token\n" +
			"  wirespan up -c talos-machine.yaml -c wirespan.yaml",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := c.joinToken(join, cmd.Flags().Changed("join"))
			if err != nil {
				return err
			}
			return c.runAgent(cmd.Context(), token, nil)
		},
	}
	cmd.Flags().StringVar(&join, "join", "", "join the cluster of this token: the token, @FILE, or - for standard input ("+envJoin+")")
	return cmd
}

// runAgent runs everything until ctx is done or the node has left. opened is
// called with each netstack that is opened; it may be nil.
func (c *cli) runAgent(ctx context.Context, token *config.Token, opened func(*netstack.Netstack)) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // from the start: by default it kills
	defer signal.Stop(hangups)
	signal.Ignore(syscall.SIGPIPE) // of a log that nobody reads any more
	n, err := c.openNode()
	if err != nil {
		return err
	}
	defer n.state.Close()
	device.Tune(n.config.MemoryBudget, n.log)
	ctx, stop := untilSignal(ctx)
	defer stop()
	backend, err := chooseBackend(n.config.Backend)
	if err != nil && n.config.KubeSpan.Enabled {
		return err
	}
	clock, err := n.clock()
	if err != nil {
		return err
	}
	if err := n.enter(token, true); err != nil {
		return err
	}
	if n.cluster != nil && n.cluster.Founder {
		if err := n.listen(ctx); err != nil {
			return err
		}
		defer n.server.listener.Close()
	}
	settings, err := n.settings(n.config)
	if err != nil {
		return err
	}
	n.explain()

	plane := &dataPlane{backend: backend, name: n.config.InterfaceName, log: n.log.Named("device"), opened: opened}
	memory, err := state.OpenMemory(n.state)
	if err != nil {
		return err
	}
	routing, kernel, err := n.firewall(plane, memory)
	if err != nil {
		return err
	}
	watched := host.New()
	hostname, _ := os.Hostname() // none: nothing to announce
	watchdog, _ := daemon.SdWatchdogEnabled(false)
	a, err := agent.New(agent.Config{
		Settings: settings, Reload: n.reload, Keys: n.keys, Clock: clock, Memory: memory, Firewall: routing, Host: watched,
		Backend: plane.backend, OpenDevice: plane.open, Hostname: hostname, OS: host.OperatingSystem(), Version: version(),
		NewRegistry: func(s agent.Service, c *agent.Settings, nodeID string) (agent.Registry, error) {
			return newRegistry(s, c, nodeID, n.log)
		},
		Observed: n.observed, LeaveOnStop: n.leaveOnStop, Notify: n.notify, Watchdog: watchdog / 2, Log: n.log,
	})
	if err != nil {
		return err
	}
	socket, err := n.control(a, plane)
	if err != nil {
		return err
	}
	return n.run(ctx, parts{a, watched, kernel, socket, hangups})
}

// parts are what run runs.
type parts struct {
	agent   *agent.Agent
	host    *host.Host
	kernel  *kernel         // nil: nothing of ours is in it
	control *control.Server // nil: none
	hangups <-chan os.Signal
}

// run runs the parts. The agent ends first, since leaving the mesh still needs
// the embedded discovery server; the control socket ends last, so that
// `wirespan down` sees by it that everything has ended.
func (n *node) run(ctx context.Context, p parts) error {
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
		g.Go(func() error { return n.server.server.Serve(outer, n.server.listener) })
	}
	if p.control != nil {
		socket.Go(func() error { return p.control.Run(last) })
	}
	g.Go(func() error { return p.host.Run(outer) })
	if p.kernel != nil {
		defer p.kernel.Close()
		g.Go(func() error { return p.kernel.Run(outer) })
	}
	g.Go(func() error { p.reloadOnHangup(outer); return nil })
	g.Go(func() error {
		defer stop()
		return p.agent.Run(inner)
	})
	err := g.Wait()
	end()
	return errors.Join(err, socket.Wait())
}

// clock guards against a clock behind the last run, and mends it where allowed.
func (n *node) clock() (*state.Clock, error) {
	clock, err := state.OpenClock(n.state)
	if err != nil {
		return nil, err
	}
	if behind := clock.Behind(time.Now()); behind > 0 && os.Geteuid() == 0 && !n.config.NoClockFix {
		if err := clock.Fix(); err != nil {
			n.log.Warn("the clock is behind this node's last run", "by", behind, "error", err)
		} else {
			n.log.Warn("the clock was behind this node's last run and has been set forward", "by", behind)
		}
	}
	return clock, nil
}

// explain says once what of the configuration may surprise.
func (n *node) explain() {
	if n.config.KubernetesRegistry {
		n.log.Info("the Kubernetes discovery registry is enabled in the configuration, but not used yet")
	}
	if n.config.HostRules {
		n.log.Info(hostRulesHint)
	}
	for _, i := range n.config.Ignored {
		n.log.Info("configuration document is not used by wirespan", "kind", i.Kind, "file", i.File, "line", i.Line)
	}
	n.explainMesh(n.config)
}

func (n *node) explainMesh(cfg *config.Config) {
	if !cfg.KubeSpan.Enabled {
		n.log.Info("the mesh is off, this node only takes part in discovery: " + enableHint)
	}
}

const hostRulesHint = "Talos' NetworkDefaultActionConfig and NetworkRuleConfig do not apply to traffic of the mesh; WirespanConfig's ingress does"

const enableHint = "set enabled: true in a KubeSpanConfig document to turn it on"

func (n *node) leaveOnStop(s *agent.Settings) bool {
	if s.LeaveOnStop != nil {
		return *s.LeaveOnStop
	}
	return n.state.Ephemeral()
}

// notify tells systemd, and drops privileges once everything is open.
func (n *node) notify(state string) {
	if state == daemon.SdNotifyReady {
		if err := dropPrivileges(n.capabilities(), n.log); err != nil {
			n.log.Warn("privileges", "error", err)
		}
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Debug("notifying the service manager", "error", err)
	}
}

// control opens the control socket. An agent that keeps nothing on disk runs
// without one, too.
func (n *node) control(a *agent.Agent, plane *dataPlane) (*control.Server, error) {
	path, err := controlSocket(n.config)
	if err != nil {
		return nil, err
	}
	cfg := control.Config{Path: path, Agent: a, Log: n.log.Named("control")}
	var server []prometheus.Gatherer
	if n.server != nil {
		server = append(server, n.server.server.Metrics())
	}
	cfg.Metrics = control.MetricsHandler(a, server...)
	if plane.backend.Netstack {
		cfg.Dial = plane.dial
	}
	socket, err := control.Open(cfg)
	if err != nil && n.config.StateDir == config.StateMemory && n.config.ControlSocket == "" && !errors.Is(err, unixsocket.ErrInUse) {
		n.log.Warn("running without a control socket", "error", err)
		return nil, nil
	}
	return socket, err
}

// reloadOnHangup reloads on SIGHUP.
func (p parts) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.hangups:
			_, _ = p.agent.Reload(ctx) // the agent logs the outcome
		}
	}
}
