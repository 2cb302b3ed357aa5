//go:build edge

package node

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/access"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/state"
)

// This file takes the place of full.go and of the founder's files in the edge build, which has
// no discovery server, no netstack and no metrics.

const hasNetstack = false

var (
	errNoServer   = errors.New("this is the edge build, which has no discovery server and can't be the founder of a mesh: found it on another box with the full build and join it with wirespan up --join, or install the full build here")
	errNoNetstack = errors.New("this is the edge build, which has no netstack: install the full build")
	errNoRelay    = errors.New("relay: offer: this is the edge build, which can use relays but offers none: set relay: auto, or install the full build")
)

// checkBuild returns an error for what this build lacks.
func checkBuild(c *config.Config) error {
	if c.Backend == config.BackendNetstack {
		return errNoNetstack
	}
	if c.Relay == config.RelayOffer {
		return errNoRelay
	}
	if err := checkKubernetes(c); err != nil {
		return err
	}
	return access.Check(&c.Wirespan)
}

func newNetstack(netip.Addr, int) (Stack, error) { return nil, errNoNetstack }

func found(*state.Dir) (*state.Cluster, error) { return nil, errNoServer }

// founding has no server: listen makes none.
type founding struct{ server *embeddedServer }

type embeddedServer struct{}

func (*embeddedServer) port() uint16              { return 0 }
func (*embeddedServer) service() service          { return service{} }
func (*embeddedServer) run(context.Context) error { return errNoServer }
func (*embeddedServer) close()                    {}

func (*embeddedServer) ports(*config.Config) []mesh.Port { return nil }

func (n *Node) listen(context.Context) error { return errNoServer }

// relaying is not there: newRelaying makes none.
type relaying struct{}

func (n *Node) newRelaying() {}

func (*relaying) attach(*agent.Config) {}

func (*relaying) reconfigure() {}

func (*relaying) observe([]mesh.Link) {}

func (*relaying) run(context.Context) error { return errNoRelay }

func (n *Node) authority() control.Authority { return nil }

func (n *Node) accepting(mesh.Affiliate) error { return nil }

func (n *Node) observed([]mesh.Link) []mesh.Condition { return nil }

func (n *Node) lead(context.Context, time.Time) time.Duration { return time.Hour }

func (n *Node) gatherMetrics() control.Metrics { return nil }
