package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) accept() *cobra.Command {
	return c.asks(&cobra.Command{
		Use:   "accept NODE",
		Short: "Accept the changed key or address of a known node",
		Long: "Accept the changed key or address of a known node.\n\n" +
			"A node id is pinned to the public key and mesh address with which it was first\n" +
			"seen. A node that turns up with others is quarantined and shows as the condition\n" +
			"IdentityChanged: another host may pose as it. Once you know that it was really set up\n" +
			"anew, accept it. NODE is its node id or its nodename.",
		Example: "  wirespan get conflicts\n  wirespan accept box2",
		Args:    arguments(1, 1),

		ValidArgsFunction: c.offerChanged(),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.Accept(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "%s is accepted as it is now\n", args[0])
			return err
		},
	})
}
