package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) validate() *cobra.Command {
	return c.takesAll(&cobra.Command{
		Use:   "validate [FILE...]",
		Short: "Check configuration files",
		Long: "Check configuration files, together and with the given settings, as wirespan up\n" +
			"would load them, and the peers file, kubeconfig and password for relays: without FILE,\n" +
			"those that it would read. FILE may be a directory, or - for standard input. It shows\n" +
			"which value comes from where, defaults aside.",
		Example: "  wirespan validate /etc/wirespan/config.yaml\n" +
			"  wirespan gen config | wirespan validate -",
		Args: arguments(0, math.MaxInt),
		RunE: func(_ *cobra.Command, args []string) error {
			c.files = args
			if err := adoptEnvironment(); err != nil {
				return err
			}
			cfg, err := c.load()
			if err != nil {
				return err
			}
			if err := errors.Join(node.CheckPeersFile(cfg), node.CheckKubeconfig(cfg), node.CheckRelayPassword(cfg)); err != nil {
				return err
			}
			for _, i := range cfg.Ignored {
				fmt.Fprintf(c.err, "%s:%d: %s is not used by wirespan\n", i.File, i.Line, i.Kind)
			}
			if cfg.HostRules {
				fmt.Fprintln(c.err, node.HostRulesHint)
			}
			fmt.Fprintf(c.out, "valid: %s\n", summary(cfg))
			return c.printGiven(cfg.Given)
		},

		ValidArgsFunction: offerFiles,
	})
}

// printGiven shows the settings that are not defaults.
func (c *cli) printGiven(given []config.Given) error {
	t := table{gap: 2}
	for _, g := range given {
		t.add(g.Key, cmp.Or(g.Value, "[]"), g.Source)
	}
	return t.write(c.out)
}

// summary says what the configuration makes of this node, and what tells it of others.
func summary(cfg *config.Config) string {
	parts := []string{"the mesh is on"}
	if !cfg.KubeSpan.Enabled {
		parts[0] = "the mesh is off (kubespan.enabled is false)"
	}
	if cfg.Standalone() {
		parts = append(parts, "the cluster comes from the state directory or a join token")
	}
	if n := len(cfg.Services); n > 0 {
		parts = append(parts, fmt.Sprintf("%d discovery service(s)", n))
	}
	switch {
	case cfg.UsesKubernetes(false):
		parts = append(parts, "the Kubernetes API")
	case cfg.UsesKubernetes(true):
		parts = append(parts, "the Kubernetes API if in a pod")
	}
	if cfg.PeersFile != "" {
		parts = append(parts, "a peers file")
	}
	return strings.Join(parts, ", ")
}
