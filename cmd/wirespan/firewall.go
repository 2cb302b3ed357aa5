package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) firewall() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "firewall",
		Short:   "Routing and filter rules while no agent runs",
		Example: "  wirespan firewall restore",
	})
	cmd.AddCommand(c.restore())
	return cmd
}

func (c *cli) restore() *cobra.Command {
	return c.configures(&cobra.Command{
		Use:   "restore",
		Short: "Refuse what belongs into the tunnel until the agent runs",
		Long: "Put the rules that the agent last had back into the kernel: what belongs into the\n" +
			"tunnel is refused until the agent is there. It is for the boot, before the network\n" +
			"is up (deploy/wirespan-firewall.service). wirespan down removes the rules.",
		Example: "  wirespan firewall restore",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, mistake := c.load()
			if mistake != nil { // it must not open the host: rules are restored, then it is told
				var err error
				if cfg, err = c.loadSettings(); err != nil {
					return mistake
				}
			}
			if mistake == nil && !cfg.Firewall.Enabled {
				_, err := fmt.Fprintln(c.out, "There is nothing to restore: firewall.enabled is false.")
				return err
			}
			restored, err := node.RestoreRules(cfg, newLogger(cfg.Logging, c.err))
			switch {
			case errors.Is(err, node.ErrAgentRuns) && mistake == nil:
				_, err = fmt.Fprintln(c.out, "There is nothing to restore: the agent runs, and applies its own rules.")
				return err
			case err != nil && !errors.Is(err, node.ErrAgentRuns):
				return fmt.Errorf("restoring the firewall: %w", errors.Join(err, mistake))
			case mistake != nil && restored:
				return fmt.Errorf("the firewall is restored, but: %w", mistake)
			case mistake != nil:
				return mistake
			case !restored:
				_, err = fmt.Fprintln(c.out, "There is nothing to restore: no agent has routed anything here.")
			}
			return err
		},
	})
}
