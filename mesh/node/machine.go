package node

import (
	"context"
	"net"
	"net/netip"
	"net/url"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/state"
)

// Machine replaces parts of the machine that a node runs on: for a program that
// brings its own, and for tests (see package nodetest). A nil field stands for the
// real part.
type Machine struct {
	Host    Host
	NewBind func(hclog.Logger) device.Bind
	// NewStack makes the IP stack of the netstack backend. Its connections are the
	// program's own matter: the control socket can't dial through it.
	NewStack func(address netip.Addr, mtu int) (Stack, error)
	// NewRegistry makes the client of a discovery service, which has s.Name.
	NewRegistry func(s agent.Source, c *agent.Effective, keys state.Keys) (agent.Registry, error)
	// Resolve looks up the names of STUN servers.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial connects to a relay or a proxy, by "udp" or "tcp", and Proxy returns the proxy for an
	// address of a relay; nil: sockets of the system do, and the environment says.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Proxy func(address string) (*url.URL, error)
	// NoSockets says that the machine has no unix sockets: the node then serves
	// neither its control socket nor that of wg(8), and [Node.Agent] is the only way
	// to ask it.
	NoSockets bool
}

// Host is a view of the machine's links. Run watches them until ctx is done.
type Host interface {
	agent.Host
	Run(ctx context.Context) error
}

// Stack is an IP stack inside the process that filters what comes out of the tunnel.
type Stack interface {
	device.Interface
	SetIngress(ingress)
}

// ingress is netstack.Ingress.
type ingress = func(source, destination netip.Addr, protocol uint8, port uint16) bool
