//go:build !edge

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (c *cli) expel() *cobra.Command {
	return c.asks(&cobra.Command{
		Use:   "expel NODE...",
		Short: "End the membership of nodes, on the founder of a mesh",
		Long: "End the membership of nodes, on the founder of a mesh.\n\n" +
			"The other nodes drop them as soon as they hear of it, within seconds, and the mesh\n" +
			"changes to a new secret, which the expelled nodes don't get. That takes up to 10\n" +
			"minutes; until then they may still read who the members are. What the nodes had\n" +
			"(names, networks) is free at once. A node that is not there now gets the new secret\n" +
			"when it is back. NODE is a node id or a nodename; one command can expel 16.",
		Example: "  wirespan expel box3\n  wirespan status   # until SecretChanging is gone",
		Args:    arguments(1, 16),

		ValidArgsFunction: c.offerPeers(),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.Expel(cmd.Context(), args); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "%s: expelled; the mesh changes its secret (see wirespan status)\n", strings.Join(args, ", "))
			return err
		},
	})
}

func (c *cli) secret() *cobra.Command {
	cmd := group(&cobra.Command{Use: "secret", Short: "Change the secret of a mesh, on its founder", Example: "  wirespan secret rotate"})
	cmd.AddCommand(c.asks(&cobra.Command{
		Use:   "rotate",
		Short: "Change the secret of the mesh, on its founder",
		Long: "Change the secret of the mesh, on its founder, after others may have seen it.\n\n" +
			"Members get the new one from the founder and go over to it; no session ends. Who\n" +
			"has only the old one can then neither read nor change what is at discovery. The\n" +
			"change ends when all nodes that are up have the new secret, within 10 minutes.",
		Example: "  wirespan secret rotate\n  wirespan status   # until SecretChanging is gone",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.RotateSecret(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.out, "the mesh changes its secret (see wirespan status)")
			return err
		},
	}))
	return cmd
}
