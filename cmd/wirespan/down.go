package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) down() *cobra.Command {
	return c.configures(&cobra.Command{
		Use:   "down",
		Short: "Leave the mesh: stop the agent and withdraw this node",
		Long: "Leave the mesh: this node is deleted from the discovery service, the agent stops\n" +
			"and what it set up on this host is removed. It works with no agent running, too.\n" +
			"Keys, node id and the cluster stay in the state directory, so that wirespan up\n" +
			"brings the same node back.",
		Example: "  wirespan down",
		Args:    arguments(0, 0),
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
			case err == nil, errors.As(err, &answer) && answer.Code == control.LeaveIncomplete:
				if err != nil { // the agent ends all the same
					err = fmt.Errorf("the agent stops, but %w", err)
				}
				return errors.Join(err, cl.Ended(cmd.Context()))
			}
			return err
		},
	})
}

// leaveWithoutAgent leaves for a node whose agent does not run.
func (c *cli) leaveWithoutAgent(ctx context.Context) error {
	nc, err := c.nodeConfig()
	if err != nil {
		return err
	}
	left, err := node.Leave(ctx, nc)
	if err != nil {
		return err
	}
	text := "This node has never been up: there is nothing to leave."
	if left {
		text = "No agent was running; this node has left the mesh."
	}
	_, err = fmt.Fprintln(c.out, text)
	return err
}
