package main

import (
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) validate() *cobra.Command {
	return c.takesAll(&cobra.Command{
		Use:   "validate FILE...",
		Short: "Check configuration files",
		Long: "Check configuration files, together and with the given settings, as wirespan up\n" +
			"would load them. FILE may be a directory, or - for standard input.",
		Example: "  wirespan validate /etc/wirespan/config.yaml\n" +
			"  wirespan gen config | wirespan validate -",
		Args: arguments(1, math.MaxInt),
		RunE: func(_ *cobra.Command, args []string) error {
			c.files = args
			cfg, err := c.load()
			if err != nil {
				return err
			}
			for _, i := range cfg.Ignored {
				fmt.Fprintf(c.err, "%s:%d: %s is not used by wirespan\n", i.File, i.Line, i.Kind)
			}
			if cfg.HostRules {
				fmt.Fprintln(c.err, node.HostRulesHint)
			}
			_, err = fmt.Fprintf(c.out, "valid: %s\n", summary(cfg))
			return err
		},

		ValidArgsFunction: offerFiles,
	})
}

func summary(cfg *config.Config) string {
	mesh := "the mesh is off (kubespan.enabled is false)"
	if cfg.KubeSpan.Enabled {
		mesh = "the mesh is on"
	}
	if cfg.Standalone() {
		return mesh + ", the cluster comes from the state directory or a join token"
	}
	return fmt.Sprintf("%s, %d discovery service(s)", mesh, len(cfg.Services))
}
