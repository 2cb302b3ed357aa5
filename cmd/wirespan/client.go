package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/node"
)

// asks gives a command that asks the running agent what it needs to find it.
func (c *cli) asks(cmd *cobra.Command) *cobra.Command { return c.takes(cmd, "controlSocket") }

// client returns a client of the agent: this user's own, or else the system's. Of
// the agent's configuration it needs the socket, and passes over all mistakes.
func (c *cli) client() (*control.Client, error) {
	if c.agent != "" {
		return control.NewClient(c.agent), nil
	}
	if err := adoptEnvironment(); err != nil {
		return nil, err
	}
	keys := []string{"controlSocket", "stateDir"}
	if err := checkLocations(keys...); err != nil {
		return nil, err
	}
	cfg, err := c.loadSettings(keys...)
	if err != nil {
		return nil, err
	}
	if cfg.ControlSocket == "" {
		socket, stateDir := config.Locations(c.readable())
		cfg.ControlSocket = socket
		if cfg.StateDir == "" {
			cfg.StateDir = stateDir
		}
	}
	path, err := node.ControlSocket(cfg)
	if _, missing := os.Stat(path); cfg.ControlSocket == "" && (err != nil || missing != nil) {
		// No agent of this user's own in the usual place: ask one with its state in memory,
		// or else the system's.
		for _, other := range node.OtherSockets() {
			if _, missing := os.Stat(other); missing == nil {
				return control.NewClient(other), nil
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return control.NewClient(path), nil
}
