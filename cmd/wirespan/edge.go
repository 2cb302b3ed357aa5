//go:build edge

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

const edgeBuild = true

// Instead of a command that this build lacks.
const (
	onFounder = "run it on the founder of the mesh"
	useFull   = "use the full build"
)

// fullCommands are those that only the full build has. They say so.
func (c *cli) fullCommands() (list []command) {
	for name, instead := range map[string]string{
		"token": onFounder, "expel": onFounder, "secret": onFounder, "authority": onFounder,
		"exec": "run the program without it, it reaches the mesh by the TUN", "discovery": useFull, "bench": useFull, "demo": useFull,
	} {
		text := fmt.Sprintf("this is the edge build, which has no command %s: %s", name, instead)
		list = append(list, command{name, func() *cobra.Command {
			return &cobra.Command{
				Use:                name,
				Long:               text,
				Hidden:             true,
				DisableFlagParsing: true,
				RunE:               func(*cobra.Command, []string) error { return errors.New(text) },
			}
		}})
	}
	return list
}
