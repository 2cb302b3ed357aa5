package main

import (
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) gen() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "gen",
		Short:   "Generate configuration and keys",
		Example: "  wirespan gen config > wirespan.yaml\n  wirespan gen key",
	})
	cmd.AddCommand(c.genConfig(), c.genKey())
	return cmd
}

func (c *cli) genConfig() *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print a configuration with every setting",
		Long: "Print a WirespanConfig document with every setting and its default. With\n" +
			"--discovery-endpoint the Talos documents of a new cluster at that discovery\n" +
			"service come first; they hold its secret, so keep the file to yourself.",
		Example: "  wirespan gen config > wirespan.yaml\n" +
			"  (umask 077; wirespan gen config \\\n" +
			"      --discovery-endpoint https://discovery.example.org/ > cluster.yaml)",
		Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if endpoint != "" {
				docs, err := config.NewCluster(endpoint, random32(), mesh.NewSecret(random32()))
				if err != nil {
					return usageError{fmt.Errorf("--discovery-endpoint %w", err)}
				}
				if _, err := fmt.Fprintf(c.out, "%s---\n", docs); err != nil {
					return err
				}
			}
			_, err := c.out.Write(config.Template())
			return err
		},
	}
	cmd.Flags().StringVar(&endpoint, "discovery-endpoint", "", "make a new cluster that meets at this discovery service (URL)")
	return cmd
}

func (c *cli) genKey() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Generate the identity of a node",
		Long: "Generate the identity of a node: a WireGuard key pair, printed as\n" +
			"kubespan-identity.yaml. With --output-dir that file and node-identity.yaml are\n" +
			"written there, to be used as --identity-dir (a mounted Secret, say).",
		Example: "  wirespan gen key\n  wirespan gen key --output-dir ./node-2",
		Args:    arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if dir == "" {
				private := mesh.NewPrivateKey(random32())
				_, err := c.out.Write(mesh.EncodeKubeSpanIdentity(mesh.Identity{PrivateKey: private, PublicKey: private.Public()}))
				return err
			}
			keys, err := node.GenerateKeys(dir, newLogger(config.Logging{Level: "warn"}, c.err))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "node %s, public key %s\n", keys.NodeID, keys.PrivateKey.Public())
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "output-dir", "", "write both identity files into this directory; existing ones are kept")
	_ = cmd.MarkFlagDirname("output-dir")
	return cmd
}

func random32() (b [32]byte) {
	_, _ = rand.Read(b[:]) // never fails: crypto/rand crashes the process instead
	return b
}
