package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/nat"
	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/host"
	"github.com/wirespan/wirespan/mesh/proxied"
)

// connectTimeout bounds the test of a discovery server.
const connectTimeout = 3 * time.Second

// netcheck finds out about this node's network, from WireGuard's port.
func (n *Node) netcheck(ctx context.Context) (mesh.Netcheck, error) {
	device := n.plane.current()
	if device == nil || !n.agent.Status().Enabled {
		return mesh.Netcheck{}, errors.New("the mesh is not running on this node (kubespan.enabled is false)")
	}
	s := n.agent.Status()
	c := mesh.Netcheck{Running: true, Peers: []mesh.PeerCheck{}, Relays: s.Relays, Relaying: s.Relaying}
	check(ctx, &c, device.CheckNAT, *n.services.Load(), n.mark)
	c.PortMapping = s.PortMapping
	for _, p := range s.Peers {
		peer := mesh.PeerCheck{Name: p.Name(), State: p.State, Endpoint: p.Endpoint, Relay: p.Relay}
		if p.Path != nil {
			peer.MTU, peer.RTT = p.Path.MTU, p.Path.RTT
		}
		if p.Relay != "" {
			peer.Direct = notDirect(p.Path)
		}
		c.Peers = append(c.Peers, peer)
	}
	return c, nil
}

// notDirect says what became of the direct ways to a peer.
func notDirect(p *agent.PathView) string {
	var out []string
	for _, c := range p.Candidates {
		if c.Rank < mesh.RankRelayed {
			text := c.Endpoint.String() + " " + c.Result
			if c.Why != "" {
				text += " (" + c.Why + ")"
			}
			out = append(out, text)
		}
	}
	if len(out) == 0 {
		return "no direct way is known"
	}
	return strings.Join(out, ", ")
}

// check asks STUN and discovery servers, and adds the outcome.
func check(ctx context.Context, c *mesh.Netcheck, checkNAT func(context.Context) mesh.NATCheck, services []string, mark uint32) {
	var g sync.WaitGroup
	g.Go(func() { c.NATCheck = checkNAT(ctx) })
	c.Discovery = make([]mesh.ServerCheck, len(services))
	for i, s := range services {
		g.Go(func() { c.Discovery[i] = connect(ctx, s, mark) })
	}
	g.Wait()
	for i := range c.Families {
		f := &c.Families[i]
		f.Available = f.Available || routed(f.Family == "ipv6", mark)
	}
}

// connect opens a TCP connection to a discovery server, by the proxy of the environment if there
// is one.
func connect(ctx context.Context, server string, mark uint32) mesh.ServerCheck {
	c := mesh.ServerCheck{Server: server}
	d := net.Dialer{Timeout: connectTimeout, Control: bind.Control(mark), Resolver: markedResolver(mark)}
	start := time.Now()
	via, err := proxied.For(server)
	var conn net.Conn
	switch {
	case err != nil:
	case via != nil:
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		conn, err = proxied.Dial(ctx, d.DialContext, via, server)
	default:
		conn, err = d.DialContext(ctx, "tcp", server)
	}
	if err != nil {
		c.Error = err.Error()
		return c
	}
	c.Millis = float64(time.Since(start).Round(10*time.Microsecond)) / float64(time.Millisecond)
	if at, ok := conn.RemoteAddr().(*net.TCPAddr); ok && via == nil {
		c.Address = mesh.Plain(at.AddrPort())
	}
	_ = conn.Close()
	return c
}

// routed reports whether this host has a route to the internet. It sends nothing.
func routed(v6 bool, mark uint32) bool {
	network, somewhere := "udp4", "192.0.2.1:9"
	if v6 {
		network, somewhere = "udp6", "[2001:db8::1]:9"
	}
	d := net.Dialer{Control: bind.Control(mark)}
	conn, err := d.Dial(network, somewhere)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Netcheck finds out about this host's network without an agent, from a UDP port of its
// own. It asks the STUN servers given or, if there are none, those of the configuration.
func Netcheck(ctx context.Context, c *config.Config, servers []string) (mesh.Netcheck, error) {
	var services []string
	for _, s := range c.Services {
		services = append(services, s.Endpoint)
	}
	if len(servers) == 0 {
		servers = stunServers(c, services, service{})
	}
	if len(servers) == 0 {
		return mesh.Netcheck{}, errors.New("no agent is running, and no STUN server is known: name one with --stun HOST[:PORT]")
	}
	mark := c.Firewall.EncryptedMark
	lc := net.ListenConfig{Control: bind.Control(mark)}
	socket, err := lc.ListenPacket(ctx, "udp", ":0")
	if err != nil {
		return mesh.Netcheck{}, fmt.Errorf("open a UDP port: %w", err)
	}
	conn := socket.(*net.UDPConn)
	local, err := localAddresses()
	if err != nil {
		return mesh.Netcheck{}, errors.Join(err, conn.Close())
	}
	p := nat.New(nat.Config{
		Send:    func(msg []byte, to netip.AddrPort) error { _, err := conn.WriteToUDPAddrPort(msg, to); return err },
		Resolve: resolver(mark), Changed: func() {},
	})
	var reader sync.WaitGroup
	reader.Go(func() { readSTUN(conn, p) })
	p.Set(mesh.STUN{Servers: servers, Local: local}, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	n := mesh.Netcheck{Peers: []mesh.PeerCheck{}, Relays: []mesh.RelayView{}, Relaying: mesh.RelayingView{Members: []mesh.RelayUsage{}}}
	check(ctx, &n, p.Check, services, mark)
	h := host.New(host.Config{EncryptedMark: mark, RoutingTable: c.Firewall.RoutingTable})
	n.PortMapping = probeGateway(ctx, h, mark, c.PortMapping, translation(&n.NATCheck))
	err = conn.Close()
	reader.Wait()
	return n, err
}

// readSTUN hands over what comes in until the socket is closed.
func readSTUN(conn *net.UDPConn, p *nat.Prober) {
	b := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && stun.Is(b[:n]) {
			p.Received(b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	}
}

// localAddresses returns the addresses of this host.
func localAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of this host: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Compare(out[j]) < 0 })
	return out, nil
}

// markedResolver returns a resolver whose packets have the mark of encrypted packets, so
// that they never enter the tunnel.
func markedResolver(mark uint32) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: (&net.Dialer{Control: bind.Control(mark)}).DialContext}
}

// resolver returns a function that looks up names with it.
func resolver(mark uint32) func(ctx context.Context, host string) ([]netip.Addr, error) {
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		return markedResolver(mark).LookupNetIP(ctx, "ip", host)
	}
}
