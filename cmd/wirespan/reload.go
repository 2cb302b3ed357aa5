package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) reload() *cobra.Command {
	return c.asks(&cobra.Command{
		Use:   "reload",
		Short: "Read the configuration again and apply it",
		Long: "Read the configuration again and apply it, as SIGHUP does. A configuration with\n" +
			"an error changes nothing. Settings that need a restart are named.",
		Example: "  wirespan reload",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			restart, err := cl.Reload(cmd.Context())
			if err != nil {
				return err
			}
			for _, name := range restart {
				fmt.Fprintf(c.out, "%s applies after a restart of the agent\n", name)
			}
			_, err = fmt.Fprintln(c.out, "reloaded")
			return err
		},
	})
}
