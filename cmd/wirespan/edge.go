//go:build edge

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

const edgeBuild = true

// fullCommands are those that only the full build has. They say so.
func (c *cli) fullCommands() (list []command) {
	for _, name := range []string{"discovery", "bench", "demo"} {
		list = append(list, command{name, func() *cobra.Command {
			return &cobra.Command{
				Use:                name,
				Hidden:             true,
				DisableFlagParsing: true,
				RunE: func(*cobra.Command, []string) error {
					return fmt.Errorf("this is the edge build, which has no %s: use the full build", name)
				},
			}
		}})
	}
	return list
}
