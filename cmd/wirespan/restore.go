package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
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
			cfg, mistake := c.load(true)
			if mistake != nil { // it must not open the host: rules are restored, then it is told
				var err error
				if cfg, err = c.loadWithoutFiles(); err != nil {
					return mistake
				}
			}
			if mistake == nil && !cfg.Firewall.Enabled {
				_, err := fmt.Fprintln(c.out, "There is nothing to restore: firewall.enabled is false.")
				return err
			}
			restored, err := c.restoreRules(cfg)
			switch {
			case err != nil:
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
	}
}

// restoreRules needs of the state directory the policy and nothing else, and
// makes nothing in it but the lock.
func (c *cli) restoreRules(cfg *config.Config) (restored bool, err error) {
	dir, err := stateDir(cfg)
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(filepath.Join(dir, state.PolicyFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	log := newLogger(cfg.Logging, c.err)
	st, err := state.Open(dir, log)
	if err != nil {
		return false, err
	}
	if err := st.Lock(); err != nil {
		return false, err
	}
	defer st.Close()
	memory, err := state.OpenPolicy(st)
	if err != nil {
		return false, err
	}
	p := memory.Policy()
	if p.Table == "" {
		return false, nil
	}
	f, err := nft.Open(nft.Config{Log: log.Named("firewall")})
	if err != nil {
		return false, err
	}
	err = errors.Join(f.Apply(firewall.Compile(p)), f.Close())
	return err == nil, err
}
