package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/access"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/host"
)

// errNotRunning says that there is no data plane.
var errNotRunning = errors.New("the mesh is not running on this node (kubespan.enabled is false)")

// openAccess makes the ways into the mesh for programs of this host.
func (n *Node) openAccess() (err error) {
	outside := access.Outside{Resolve: lookupHost, DialContext: new(net.Dialer).DialContext, Local: host.Stays}
	link := n.config.InterfaceName
	if n.plane.backend.Netstack {
		link = ""
		outside.ListenUDP = func() (net.PacketConn, error) { return net.ListenPacket("udp", ":0") }
	}
	n.access, err = access.New(access.Config{
		Directory: directory{n}, Plane: n.plane, Outside: outside, Interface: link, Log: n.log.Named("access"),
	}, &n.config.Wirespan)
	return err
}

// directory is what the agent knows, which does not exist yet when the services are made.
type directory struct{ node *Node }

func (d directory) Names() *mesh.Names             { return d.node.agent.Names() }
func (d directory) Reach(a netip.Addr) agent.Reach { return d.node.agent.Reach(a) }

func (d directory) Peer(a netip.Addr) (netip.Addr, []string) { return d.node.agent.Peer(a) }

func lookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// programs is how the control socket leads programs into the mesh.
type programs struct{ node *Node }

func (p programs) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return p.node.access.Network(false).DialContext(ctx, network, address)
}

func (p programs) Lookup(name string) ([]netip.Addr, error) {
	return p.node.access.Network(false).Lookup(name)
}

func (p programs) Proxy(ctx context.Context, ready func(control.ProxyReply)) error {
	return p.node.access.Private(ctx, func(p access.Private) {
		ready(control.ProxyReply{Address: p.Address, User: p.User, Password: p.Password})
	})
}

// socketStack is a netstack that has sockets.
type socketStack interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	ListenUDP(at netip.AddrPort) (net.PacketConn, error)
	ListenTCP(at netip.AddrPort) (net.Listener, error)
}

// netstack returns the stack that was opened last.
func (p *dataPlane) netstack() (socketStack, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stack, ok := p.stack.(socketStack)
	if !ok {
		return nil, errNotRunning
	}
	return stack, nil
}

// DialContext connects through the netstack or, with a TUN, through the kernel.
func (p *dataPlane) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !p.backend.Netstack {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	stack, err := p.netstack()
	if err != nil {
		return nil, err
	}
	return stack.DialContext(ctx, network, address)
}

// early listens on the mesh address before the TUN has it.
var early = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1) })
	return errors.Join(err, set)
}}

// ListenUDP opens a UDP socket in the mesh.
func (p *dataPlane) ListenUDP(at netip.AddrPort) (net.PacketConn, error) {
	if !p.backend.Netstack {
		return early.ListenPacket(context.Background(), "udp", at.String())
	}
	stack, err := p.netstack()
	if err != nil {
		return nil, err
	}
	return stack.ListenUDP(at)
}

// ListenTCP opens a TCP listener in the mesh.
func (p *dataPlane) ListenTCP(at netip.AddrPort) (net.Listener, error) {
	if !p.backend.Netstack {
		return early.Listen(context.Background(), "tcp", at.String())
	}
	stack, err := p.netstack()
	if err != nil {
		return nil, err
	}
	return stack.ListenTCP(at)
}

// openHealth opens the listeners of health and metrics.
func (n *Node) openHealth(ctx context.Context) error {
	at := n.config.HealthListen
	if at.Address == "" {
		return nil
	}
	for _, address := range at.Addresses() {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if len(n.health) > 0 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			continue // a host without IPv6 has no ::1
		}
		if err != nil {
			return fmt.Errorf("health and metrics: %w (choose another address with --health-listen)", err)
		}
		n.health = append(n.health, l)
	}
	return nil
}
