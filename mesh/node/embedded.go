//go:build !edge

package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// founding is what a node has as the founder of its mesh.
type founding struct {
	server *embeddedServer // nil unless this node is the cluster's founder
	tokens *tokens         // likewise

	offering sync.Mutex // guards offered and withheld
	offered  string     // the last join token that was shown or written
	withheld error      // why there is none
}

// embeddedServer is the discovery server of a founder. It serves only its own cluster,
// with a self-signed certificate that the join token pins.
type embeddedServer struct {
	server   *server.Server
	listener net.Listener
	pin      [32]byte
	stun     *stunListener // nil: WireGuard's port answers STUN, or nothing does
}

// port returns the number of the port on which the server listens.
func (e *embeddedServer) port() uint16 { return e.listener.Addr().(*net.TCPAddr).AddrPort().Port() }

// run serves until ctx is done.
func (e *embeddedServer) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.server.Serve(ctx, e.listener) })
	if e.stun != nil {
		g.Go(func() error { return e.stun.run(ctx) })
	}
	return g.Wait()
}

// close closes the ports of a server that does not run.
func (e *embeddedServer) close() {
	_ = e.listener.Close() // Serve may have closed it
	if e.stun != nil {
		_ = e.stun.conn.Close()
	}
}

// listen creates the embedded server and opens its port.
func (n *Node) listen(ctx context.Context) error {
	srv, pin, err := n.newServer()
	if err != nil {
		return err
	}
	present := n.membership.present()
	if n.tokens, err = openTokens(n.state, present); err != nil {
		return err
	}
	lc := net.ListenConfig{Control: bind.Control(n.config.Firewall.EncryptedMark)}
	l, err := lc.Listen(ctx, "tcp", n.config.DiscoveryListen)
	if err != nil {
		return fmt.Errorf("embedded discovery server: %w (choose another address with --discovery-listen)", err)
	}
	n.server = &embeddedServer{server: srv, listener: l, pin: pin}
	n.listenSTUN(ctx)
	return n.serveMembers()
}

// listenSTUN opens a port for STUN if WireGuard's is another one. Without it, nodes learn
// their mapped addresses from what their peers see.
func (n *Node) listenSTUN(ctx context.Context) {
	if wanted := n.config.AnswerStun; n.server.port() == n.config.ListenPort || wanted != nil && !*wanted {
		return
	}
	var err error
	if n.server.stun, err = listenSTUN(ctx, n.server.listener.Addr(), n.config.Firewall.EncryptedMark); err != nil {
		n.log.Warn("members behind a NAT may not learn their addresses", "error", err)
	}
}

// service returns how this node itself connects to its server.
func (e *embeddedServer) service() service {
	addr := e.listener.Addr().(*net.TCPAddr).AddrPort()
	ip := addr.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // Go's wildcard listeners take both families
	}
	return service{Endpoints: []string{netip.AddrPortFrom(ip, addr.Port()).String()}, Pin: e.pin}
}

// observed updates a founder's join token, which must name current addresses. The agent
// calls it whenever it has read the host's links. It returns a condition if there can be no
// token.
func (n *Node) observed(links []mesh.Link) []mesh.Condition {
	if n.server == nil {
		return nil
	}
	if err := n.advertise(links); err != nil {
		n.log.Warn("storing the addresses of the discovery server", "error", err)
	}
	n.offer()
	return n.tokenCondition()
}

// advertise stores the addresses and the pin of this node's server in the state
// directory. Join tokens contain both.
func (n *Node) advertise(links []mesh.Link) error {
	servers := serverAddresses(n.config, links, n.server.listener.Addr().(*net.TCPAddr).AddrPort(), n.mappedServers())
	n.tokens.advertise(servers, n.server.pin, passedOver(links, n.config.AddressFilters)...)
	if before := n.membership.present(); before.Pin != [32]byte{} && before.Pin != n.server.pin {
		n.log.Warn("the discovery server has a new key: nodes that joined with the old one must join again, with a new token")
	}
	return n.alter(func(c *state.Cluster) error {
		c.Servers, c.Pin = servers, n.server.pin
		return nil
	})
}

// serverAddresses returns the addresses for a join token. Configured ones come first;
// then follows the listener's address or, if that is a wildcard, every address that this
// host announces to peers. Those that the gateway maps are last: hosts of the same network
// may not reach them.
func serverAddresses(c *config.Config, links []mesh.Link, listen netip.AddrPort, mapped []string) []string {
	var out []string
	port := strconv.Itoa(int(listen.Port()))
	add := func(host, port string) {
		if hp := net.JoinHostPort(host, port); !slices.Contains(out, hp) && len(out) < config.MaxTokenServers {
			out = append(out, hp)
		}
	}
	for _, a := range c.AdvertiseDiscovery {
		if h, p, err := net.SplitHostPort(a); err == nil {
			add(h, p)
		} else {
			add(a, port)
		}
	}
	if ip := listen.Addr().Unmap(); !ip.IsUnspecified() {
		add(ip.String(), port)
	} else {
		for _, addr := range mesh.HostAddresses(links, c.AddressFilters) {
			add(addr.String(), port)
		}
	}
	for _, m := range mapped {
		if h, p, err := net.SplitHostPort(m); err == nil {
			add(h, p)
		}
	}
	return out
}

// ports returns those of the discovery server that a gateway is to map.
func (e *embeddedServer) ports(c *config.Config) []mesh.Port {
	at := e.listener.Addr().(*net.TCPAddr).AddrPort()
	tcp := mesh.Port{Use: mesh.PortDiscovery, TCP: true, Number: at.Port()}
	switch {
	case at.Addr().IsLoopback():
		return nil
	case len(c.AdvertiseDiscovery) > 0:
		tcp.Refused = "advertiseDiscovery names where it is reached"
	}
	out := []mesh.Port{tcp}
	if e.stun != nil {
		out = append(out, mesh.Port{Use: mesh.PortSTUN, Number: at.Port(), Refused: tcp.Refused})
	}
	return out
}

// mappedServers returns the addresses at which the gateway maps the discovery server.
func (n *Node) mappedServers() (out []string) {
	if n.ports == nil {
		return nil
	}
	for _, at := range n.ports.Report().Mapped(mesh.PortDiscovery, "tcp") {
		out = append(out, net.JoinHostPort(at.Addr().String(), strconv.Itoa(int(at.Port()))))
	}
	return out
}
