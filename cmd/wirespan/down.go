package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/agent"
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
			err = cl.post(cmd.Context(), "/v1/leave", nil, nil)
			var answer *callError
			switch {
			case errors.Is(err, errNoAgent):
				return c.leaveWithoutAgent(cmd.Context())
			case err == nil, errors.As(err, &answer) && answer.code == http.StatusBadGateway:
				return errors.Join(err, cl.ended(cmd.Context())) // it ends even if a service was not reached
			}
			return err
		},
	}
}

// leaveWithoutAgent deletes the affiliate of a node whose agent does not run.
// Its interface, addresses and routes died with the agent.
func (c *cli) leaveWithoutAgent(ctx context.Context) error {
	n, err := c.openNode()
	if err != nil {
		return err
	}
	defer n.state.Close()
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
			errs = append(errs, fmt.Errorf("deleting this node from discovery service %s: %w", s.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, "No agent was running; this node has left the mesh.")
	return err
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
			var reply agent.ReloadReply
			if err := cl.post(cmd.Context(), "/v1/reload", nil, &reply); err != nil {
				return err
			}
			for _, name := range reply.Restart {
				fmt.Fprintf(c.out, "%s applies after a restart of the agent\n", name)
			}
			_, err = fmt.Fprintln(c.out, "reloaded")
			return err
		},
	}
}
