package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) accept() *cobra.Command {
	return c.asks(&cobra.Command{
		Use:   "accept NODE",
		Short: "Accept a node that was set up anew",
		Long: "Accept a node that was set up anew.\n\n" +
			"Names, keys and addresses stay with the node that had them first. Another node with\n" +
			"the same shows as a condition: it may be the same box, installed anew, or pose as\n" +
			"it. Once you know, accept it: it then gets what the other one had. So does a node\n" +
			"that can't sign and has another key (IdentityChanged). NODE is its node id or its\n" +
			"nodename. The node that runs this command decides for itself alone.",
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
