package main

import (
	"os"

	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/node"
)

// client returns a client of the agent: this user's own, or else the system's.
func (c *cli) client() (*control.Client, error) {
	cfg, err := c.loadForClient()
	if err != nil {
		return nil, err
	}
	path, err := node.ControlSocket(cfg)
	if _, missing := os.Stat(path); cfg.ControlSocket == "" && (err != nil || missing != nil) {
		// No agent of this user's own: ask the system's, if there is one.
		if _, missing := os.Stat(node.SystemSocket); missing == nil {
			return control.NewClient(node.SystemSocket), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return control.NewClient(path), nil
}
