package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/state"
)

const leaveTimeout = 15 * time.Second

func (c *cli) down() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Leave the mesh: stop the agent and withdraw this node",
		Long: "Leave the mesh: this node is deleted from the discovery service, the agent stops\n" +
			"and what it set up on this host is removed. It works with no agent running, too.\n" +
			"Keys, node id and the cluster stay in the state directory, so that wirespan up\n" +
			"brings the same node back.",
		Example: "  wirespan down",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			err = cl.Leave(cmd.Context())
			var answer *control.Refusal
			switch {
			case errors.Is(err, control.ErrNoAgent):
				return c.leaveWithoutAgent(cmd.Context())
			case err == nil, errors.As(err, &answer) && answer.Code == http.StatusBadGateway:
				if err != nil { // the agent ends all the same
					err = fmt.Errorf("the agent stops, but %w", err)
				}
				return errors.Join(err, cl.Ended(cmd.Context()))
			}
			return err
		},
	}
}

// leaveWithoutAgent deletes the affiliate of a node whose agent does not run, and
// removes the rules that it left. Its interface and addresses died with it.
func (c *cli) leaveWithoutAgent(ctx context.Context) error {
	known, err := c.known()
	if err != nil {
		return err
	}
	if !known {
		cfg, err := c.load(true)
		if err != nil {
			return err
		}
		if err := removeUnremembered(cfg, cfg.ClusterID, newLogger(cfg.Logging, c.err)); err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.out, "This node has never been up: there is nothing to leave.")
		return err
	}
	n, err := c.openNode()
	if err != nil {
		return fmt.Errorf("no agent answers on the control socket, so this command leaves by itself: %w", err)
	}
	defer n.state.Close()
	n.removeSockets()
	err = n.leaveServices(ctx)
	// Rules go last, and also if no service could be reached.
	memory, unread := state.OpenPolicy(n.state)
	switch {
	case unread == nil && memory.Policy().Table == "":
		unread = removeUnremembered(n.config, n.clusterID(), n.log)
	case unread == nil:
		unread = n.removeRules(memory)
	}
	if err := errors.Join(err, unread); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, "No agent was running; this node has left the mesh.")
	return err
}

// clusterID is the configuration's or the state directory's; empty if neither
// names one.
func (n *node) clusterID() string {
	if n.cluster != nil {
		return n.cluster.ID
	}
	return n.config.ClusterID
}

// leaveServices deletes this node from the discovery services.
func (n *node) leaveServices(ctx context.Context) error {
	if err := n.enter(nil, false); err != nil {
		return err
	}
	if n.cluster != nil && n.cluster.Founder {
		stop, err := n.serveBriefly(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	settings, err := n.settings(n.config)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range settings.Discovery {
		if err := n.leave(ctx, s, settings); err != nil {
			errs = append(errs, fmt.Errorf("deleting this node from discovery service %s: %w (it expires by itself within %s)", s.Name, err, discovery.MaxTTL))
		}
	}
	return errors.Join(errs...)
}

// known reports whether this host has a node to speak of, without making one.
func (c *cli) known() (bool, error) {
	cfg, err := c.load(true)
	if err != nil {
		return false, err
	}
	dir := cfg.IdentityDir
	if dir == "" {
		if dir, err = stateDir(cfg); err != nil {
			return false, err
		}
	}
	_, err = os.Stat(filepath.Join(dir, mesh.NodeIdentityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, err
}

// removeSockets removes what a killed agent has left behind.
func (n *node) removeSockets() {
	control, err := controlSocket(n.config)
	if err == nil {
		removeStale(control)
	}
	if uapi, err := uapiSocket(n.config, n.config.InterfaceName); err == nil {
		removeStale(uapi)
	}
}

// removeStale removes a socket on which nobody answers.
func removeStale(path string) {
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
		return
	}
	if info, statErr := os.Lstat(path); statErr == nil && info.Mode().Type() == fs.ModeSocket && errors.Is(err, unix.ECONNREFUSED) {
		_ = os.Remove(path)
	}
}

func (n *node) leave(ctx context.Context, s agent.Service, settings *agent.Settings) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	r, err := newRegistry(s, settings, n.keys.NodeID, n.log)
	if err != nil {
		return err
	}
	return r.Delete(ctx)
}

// serveBriefly runs the founder's own discovery server, whose snapshot holds
// what is to be deleted.
func (n *node) serveBriefly(ctx context.Context) (stop func(), err error) {
	if err := n.listen(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.server.server.Serve(ctx, n.server.listener); err != nil {
			n.log.Warn("embedded discovery server", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

func (c *cli) reload() *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		Short:   "Read the configuration again and apply it",
		Long:    "Read the configuration again and apply it, as SIGHUP does. A configuration with\nan error changes nothing. Settings that need a restart are named.",
		Example: "  wirespan reload",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			restart, err := cl.Reload(cmd.Context())
			if err != nil {
				return err
			}
			for _, name := range restart {
				fmt.Fprintf(c.out, "%s applies after a restart of the agent\n", name)
			}
			_, err = fmt.Fprintln(c.out, "reloaded")
			return err
		},
	}
}
