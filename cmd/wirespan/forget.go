package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) forget() *cobra.Command {
	return c.asks(&cobra.Command{
		Use:   "forget NODE",
		Short: "Forget what this node remembers of another one",
		Long: "Forget what this node remembers of another one: its key, its mesh address, its\n" +
			"nodename and its networks. Another node may then have them. This takes effect here\n" +
			"alone, and does not end the membership of a node: one that is still there is taken\n" +
			"as a new one. NODE is its node id or its nodename.",
		Example: "  wirespan get conflicts\n  wirespan forget box2",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.Forget(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "%s is forgotten\n", args[0])
			return err
		},
	})
}
