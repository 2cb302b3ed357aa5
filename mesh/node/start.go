package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/wirespan/wirespan/mesh/agent"
)

// publishTimeout is how long Start waits until discovery has this node.
const publishTimeout = 5 * time.Second

// Start opens a node and runs it in the background until [Node.Close]. It returns when the
// node is ready, so that nodes that start after it find it, or has failed, or ctx ends: then
// there is no node.
func Start(ctx context.Context, c Config) (*Node, error) {
	n, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.background = &background{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(n.background.ended)
		n.background.err = n.Run(running)
	}()
	if err := n.ready(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// background is a Run that Close ends.
type background struct {
	stop  context.CancelFunc
	ended chan struct{}
	err   error // once ended
}

func (b *background) close() error {
	b.stop()
	<-b.ended
	return b.err
}

// ready returns when the node is ready, and discovery has it. Without the latter, which not
// every node attains, it returns after publishTimeout.
func (n *Node) ready(ctx context.Context) error {
	late := time.NewTimer(publishTimeout)
	defer late.Stop()
	wanted := true
	for {
		s := n.Status()
		if s.Ready && (!wanted || published(s)) {
			return nil
		}
		select {
		case <-s.Changed():
		case <-late.C:
			wanted = false
		case <-n.background.ended:
			return errors.New("the node has ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("the node is not ready: %s: %w", s.NotReady, context.Cause(ctx))
		}
	}
}

// published reports whether all services that are connected have this node.
func published(s *agent.Status) bool {
	return !slices.ContainsFunc(s.Discovery, func(d agent.DiscoveryStatus) bool { return d.Connected && !d.Published })
}

// Status returns what the node knows of itself and of its peers.
func (n *Node) Status() *agent.Status { return n.agent.Status() }

// Dial connects to host:port in the mesh; the host is a nodename, a name such as
// node-2.mesh, or an address. The network is tcp or udp, with or without 4 or 6. Dial can be
// the DialContext of an http.Transport. With the setting proxy.egress direct, it also
// connects to what is outside of the mesh.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return n.access.Reachable().DialContext(ctx, network, address)
}

// Listen listens on the node's mesh address, or with the netstack on all its addresses. The
// network is tcp, and the address :PORT; port 0 is any free port. A listener ends with the
// data plane: Accept then fails, and Listen opens another one.
func (n *Node) Listen(network, address string) (net.Listener, error) {
	at, err := n.listenAt(network, "tcp", address)
	if err != nil {
		return nil, err
	}
	return n.plane.ListenTCP(at)
}

// ListenPacket is Listen for datagrams; the network is udp.
func (n *Node) ListenPacket(network, address string) (net.PacketConn, error) {
	at, err := n.listenAt(network, "udp", address)
	if err != nil {
		return nil, err
	}
	return n.plane.ListenUDP(at)
}

// listenAt reads the address of a listener in the mesh.
func (n *Node) listenAt(network, want, address string) (netip.AddrPort, error) {
	if network != want {
		return netip.AddrPort{}, fmt.Errorf("network %.20q: want %q", network, want)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.LookupPort(network, port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	own := n.Status().Node.Address
	if host != "" && host != own.String() && host != "::" {
		return netip.AddrPort{}, fmt.Errorf("listen on %.100q: want :PORT, or the node's address %v", address, own)
	}
	return netip.AddrPortFrom(own, uint16(number)), nil
}
