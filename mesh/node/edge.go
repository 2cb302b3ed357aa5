//go:build edge

package node

import (
	"errors"
	"net/netip"

	"github.com/wirespan/wirespan/mesh/access"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/state"
)

// This file takes the place of full.go in the edge build, which has no discovery server, no
// netstack and no metrics.

const hasNetstack = false

var (
	errNoServer   = errors.New("this is the edge build, which has no discovery server and can't be the founder of a mesh: found it on another box with the full build and join it with wirespan up --join, or install the full build here")
	errNoNetstack = errors.New("this is the edge build, which has no netstack: install the full build")
)

// checkBuild returns an error for what this build lacks.
func checkBuild(c *config.Config) error {
	if c.Backend == config.BackendNetstack {
		return errNoNetstack
	}
	return access.Check(&c.Wirespan)
}

func newNetstack(netip.Addr, int) (Stack, error) { return nil, errNoNetstack }

func mayFound(*state.Dir) error { return errNoServer }

func (n *Node) newServer() (discoveryServer, [32]byte, error) {
	return nil, [32]byte{}, errNoServer
}

func (n *Node) gatherMetrics() control.Metrics { return nil }
