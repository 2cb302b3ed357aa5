//go:build !edge

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/demo"
	"github.com/wirespan/wirespan/mesh/node"
)

const demoTimeout = 45 * time.Second

func (c *cli) demo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a mesh of three nodes on this machine, without privileges",
		Long: "Run a real mesh on this machine's loopback: a founder with its discovery server\n" +
			"and two nodes that join, each a process of its own with a netstack data plane.\n" +
			"Shows the peers coming up and sends an HTTP request across. Leaves nothing behind.",
		Example: "  wirespan demo",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the demo took longer than %s", demoTimeout))
			defer cancel()
			self, err := os.Executable()
			if err != nil {
				return err
			}
			err = demo.Run(ctx, demo.Config{Node: []string{self, "demo", "node"}, Out: c.out, Show: showPeers})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		},
	}
	cmd.AddCommand(c.demoNode())
	return cmd
}

func showPeers(w io.Writer, peers []agent.PeerView) error {
	return peerTable(peers, time.Now(), width(w)).write(w)
}

// demoNode is an agent with something to talk to. It prints its join token.
func (c *cli) demoNode() *cobra.Command {
	var join string
	cmd := &cobra.Command{
		Use:    "node",
		Hidden: true,
		Args:   arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := c.joinToken(join, cmd.Flags().Changed("join"))
			if err != nil {
				return err
			}
			return c.runAgent(cmd.Context(), token, func(nc *node.Config) {
				nc.Opened = func(stack node.Stack) { demo.Greet(stack.(*netstack.Netstack), nc.Config.Nodename, nc.Log) }
				nc.ShowToken = func(token string) bool {
					_, err := fmt.Fprintln(c.out, token)
					return err == nil
				}
			})
		},
	}
	cmd.Flags().StringVar(&join, "join", "", "join token")
	return c.configures(cmd)
}
