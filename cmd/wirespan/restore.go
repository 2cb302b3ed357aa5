package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/agent"
)

func (c *cli) firewall() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "firewall",
		Short:   "What routes and filters for the mesh, apart from the agent",
		Example: "  wirespan firewall restore",
	})
	cmd.AddCommand(c.restore())
	return cmd
}

func (c *cli) restore() *cobra.Command {
	return &cobra.Command{
		Use:   "restore",
		Short: "Refuse what belongs into the tunnel until the agent runs",
		Long: "Put the rules that the agent last had back into the kernel: what belongs into the\n" +
			"tunnel is refused until the agent is there. It is for the boot, before the network\n" +
			"is up (deploy/wirespan-firewall.service). wirespan down removes the rules.",
		Example: "  wirespan firewall restore",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if known, err := c.known(); err != nil || !known {
				return c.nothingToRestore(err)
			}
			n, err := c.locateNode()
			if err != nil {
				return err
			}
			if err := n.state.Lock(); err != nil {
				return fmt.Errorf("restoring the firewall: %w", err)
			}
			defer n.state.Close()
			memory, err := agent.OpenMemory(n.state)
			if err != nil {
				return err
			}
			p := memory.Policy()
			if p.Table == "" {
				return c.nothingToRestore(nil)
			}
			if err := p.Check(); err != nil {
				return fmt.Errorf("state file of the last rules: %w", err)
			}
			k, err := openKernel(n.state, memory, n.log.Named("firewall"))
			if err != nil {
				return err
			}
			return errors.Join(k.Firewall.Apply(firewall.Compile(p)), k.Close())
		},
	}
}

func (c *cli) nothingToRestore(err error) error {
	if err == nil {
		_, err = fmt.Fprintln(c.out, "There is nothing to restore: no agent has routed anything here.")
	}
	return err
}
