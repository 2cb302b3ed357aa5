//go:build !edge

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) authority() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "authority",
		Short:   "Export or replace the authority key of a mesh, on its founder",
		Example: "  (umask 077; wirespan authority export > authority-key.yaml)\n  wirespan authority replace",
	})
	cmd.AddCommand(c.exportAuthority(), c.replaceAuthority())
	return cmd
}

func (c *cli) exportAuthority() *cobra.Command {
	return c.configures(&cobra.Command{
		Use:   "export",
		Short: "Print the authority key of this node's mesh, for a backup",
		Long: "Print the authority key of this node's mesh, for a backup.\n\n" +
			"Who has the key decides who is a member. To restore a founder, restore its whole\n" +
			"state directory; the key alone goes to authority-key.yaml there.",
		Example: "  (umask 077; wirespan authority export > authority-key.yaml)",
		Args:    arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if err := adoptEnvironment(); err != nil {
				return err
			}
			nc, err := c.nodeConfig()
			if err != nil {
				return err
			}
			key, err := node.AuthorityKey(nc)
			if err != nil {
				return err
			}
			_, err = c.out.Write(key)
			return err
		},
	})
}

func (c *cli) replaceAuthority() *cobra.Command {
	return c.asks(&cobra.Command{
		Use:   "replace",
		Short: "Make a new authority key, on the founder",
		Long: "Make a new authority key, on the founder, after others may have seen the old one.\n\n" +
			"The old key signs a last statement, which names the new one; all members follow it.\n" +
			"Join tokens that were made before are of no use any more.",
		Example: "  wirespan authority replace",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.ReplaceAuthority(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.out, "the mesh has a new authority key; make a new backup (wirespan authority export)")
			return err
		},
	})
}
