//go:build !edge

package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/server"
	discovery "github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
)

// serving is a relay that runs.
type serving struct {
	shape    relayShape
	server   *server.Server
	problems []string      // ways by which it is not reached
	retry    []func() bool // report whether such a way is free now
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // once done
}

func (s *serving) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *serving) stop() {
	s.cancel()
	<-s.done
}

// count adds what the server has counted.
func (s *serving) count(total map[string]mesh.RelayUsage) {
	for _, u := range s.server.Usage() {
		t := total[u.Member]
		t.Member, t.Relayed = u.Member, append([]netip.AddrPort{}, u.Allocations...)
		t.SentBytes += u.SentBytes
		t.ReceivedBytes += u.Received
		t.Packets += u.Packets
		t.DroppedPackets += u.Dropped
		t.Refused += u.Refused
		total[u.Member] = t
	}
}

// serve starts a server.
func (r *relaying) serve(ctx context.Context, shape relayShape) (*serving, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &serving{shape: shape, cancel: cancel, done: make(chan struct{})}
	g, ctx := errgroup.WithContext(ctx)
	sockets, errUDP := r.sockets(ctx, g, &shape)
	listeners, errTCP := r.listeners(ctx, &shape)
	if errUDP != nil {
		s.problems, s.retry = append(s.problems, errUDP.Error()), append(s.retry, func() bool { return r.tryUDP(&shape) })
	}
	if errTCP != nil {
		s.problems, s.retry = append(s.problems, errTCP.Error()), append(s.retry, func() bool { return r.tryTCP(&shape) })
	}
	var err error
	if len(sockets)+len(listeners) == 0 {
		err = errors.Join(errUDP, errTCP)
	} else {
		s.server, err = server.New(r.config(sockets, listeners, &shape))
	}
	if err != nil {
		cancel()
		for _, c := range sockets {
			_ = c.Close()
		}
		for _, l := range listeners {
			_ = l.Close()
		}
		return nil, errors.Join(err, g.Wait())
	}
	g.Go(func() error { return s.server.Run(ctx) })
	go func() {
		s.err = g.Wait()
		close(s.done)
	}()
	return s, nil
}

// config returns the configuration of a server.
func (r *relaying) config(sockets []server.Socket, listeners []net.Listener, shape *relayShape) server.Config {
	return server.Config{
		Sockets: sockets, Listeners: listeners, Public4: shape.public4, Public6: shape.public6,
		FirstPort: shape.ports.First, LastPort: shape.ports.Last, Listen: r.listenRelayed(shape),
		Keys:      (&memberKeys{relaying: r, shared: map[string]mesh.Secret{}}).of,
		Authorize: r.authorize, Own: r.isOwn, WireGuardPort: shape.device.ListenPort,
		Private: slices.Clone(r.secrets.settings.Load().RelayNetworks),
		Limits:  server.Limits{Allocations: len(shape.addresses()) * shape.ports.Len(), Bandwidth: int64(shape.bandwidth) * (1_000_000 / 8)},
	}
}

// memberKeys knows by which keys members make credentials.
type memberKeys struct {
	relaying *relaying

	mu     sync.Mutex
	shared map[string]mesh.Secret // with members, by relay.User
}

// of returns the keys of a user; none if it is no member.
func (k *memberKeys) of(user string) []relay.Key {
	r := k.relaying
	keys := r.keyring.take(r.secrets.keys(), time.Now())
	if !r.secrets.bonded() {
		return keys
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	shared, ok := k.shared[user]
	if !ok {
		var err error
		if shared, err = r.secrets.node.keys.NodeKey.Shared(r.nodeOf(user)); err != nil {
			return nil
		}
		if len(k.shared) >= len(*r.members.Load()) { // some are members no more
			clear(k.shared)
		}
		k.shared[user] = shared
	}
	return bond(keys, shared)
}

// nodeOf returns the node id of a user; empty if it is no member.
func (r *relaying) nodeOf(user string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.service.Members {
		if relay.User(m.NodeID) == user {
			return m.NodeID
		}
	}
	return ""
}

// listenRelayed returns what opens relayed ports: at the public address if it is one of this host,
// and else, behind a 1:1 NAT, at all.
func (r *relaying) listenRelayed(shape *relayShape) func(network string, port uint16) (server.Socket, error) {
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		return errors.Join(bind.Control(r.mark)(network, address, c), withoutBroadcast(c))
	}}
	at := map[string]netip.Addr{"udp4": shape.public4, "udp6": shape.public6}
	return func(network string, port uint16) (server.Socket, error) {
		address := fmt.Sprintf(":%d", port)
		if a := at[network]; r.isOwn(a) {
			address = netip.AddrPortFrom(a, port).String()
		}
		c, err := lc.ListenPacket(context.Background(), network, address)
		if err != nil {
			return nil, err
		}
		return burst.New(c.(*net.UDPConn)), nil
	}
}

// withoutBroadcast has the kernel refuse to send to broadcast addresses, which Go's sockets may. Of
// its networks' the relay does not know that they are such.
func withoutBroadcast(c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0))
	})
	return errors.Join(err, failed)
}

var errNotShared = errors.New("relay: UDP requests are not taken: the data plane does not share its sockets")

// sockets returns where requests come in by UDP: at WireGuard's port if it has the same number, or
// at that which answers STUN beside the discovery server.
func (r *relaying) sockets(ctx context.Context, g *errgroup.Group, shape *relayShape) ([]server.Socket, error) {
	if shape.port == shape.device.ListenPort() {
		if shared := shape.device.Shared(); shared != nil {
			return []server.Socket{shared}, nil
		}
		return nil, errNotShared
	}
	l := shape.founder.stun
	if l == nil { // this node is not to answer STUN
		var err error
		if l, err = listenSTUN(ctx, shape.founder.listener.Addr(), r.mark); err != nil {
			return nil, fmt.Errorf("relay: UDP requests are not taken: %w", err)
		}
		g.Go(func() error { return l.run(ctx) })
	}
	return []server.Socket{newTURNSocket(l)}, nil
}

// listeners returns where requests come in by TCP and TLS: at the discovery server's port, or at
// one of its own with WireGuard's number. Clients do not check the certificate: credentials
// authenticate both ends.
func (r *relaying) listeners(ctx context.Context, shape *relayShape) ([]net.Listener, error) {
	if shape.founder != nil {
		s := &streams{at: shape.founder.listener.Addr(), conns: make(chan net.Conn, maxPendingStreams), closed: make(chan struct{}), relaying: r}
		r.streams.Store(s)
		return []net.Listener{s}, nil
	}
	lc := net.ListenConfig{Control: bind.Control(r.mark)}
	l, err := lc.Listen(ctx, "tcp", fmt.Sprintf(":%d", shape.port))
	if err != nil {
		return nil, fmt.Errorf("relay: requests by TCP and TLS are not taken: %w", err)
	}
	cert, _, err := discovery.MemoryCertificate(time.Now())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return []net.Listener{server.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{relay.ALPN},
	})}, nil
}

// tryTCP reports whether the port of requests by TCP is free.
func (r *relaying) tryTCP(shape *relayShape) bool {
	l, err := r.listeners(context.Background(), shape)
	for _, l := range l {
		_ = l.Close()
	}
	return err == nil
}

// tryUDP is tryTCP for UDP.
func (r *relaying) tryUDP(shape *relayShape) bool {
	if shape.founder == nil {
		return false
	}
	l, err := listenSTUN(context.Background(), shape.founder.listener.Addr(), r.mark)
	if err != nil {
		return false
	}
	_ = l.conn.Close()
	return true
}

// accept takes a connection of the discovery server's port that speaks STUN or TURN.
func (r *relaying) accept(conn net.Conn) {
	if s := r.streams.Load(); s == nil || !s.put(conn) {
		_ = conn.Close()
	}
}

// maxPendingStreams is how many connections wait for the relay.
const maxPendingStreams = 64

// streams is a listener whose connections come from the discovery server's.
type streams struct {
	at       net.Addr
	conns    chan net.Conn
	relaying *relaying

	mu     sync.Mutex // guards closing
	closed chan struct{}
}

// put hands a connection over, and reports whether it is taken.
func (s *streams) put(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
	}
	select {
	case s.conns <- conn:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The discovery server's port stays open.
func (s *streams) Close() error {
	s.relaying.streams.CompareAndSwap(s, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return nil
	default:
		close(s.closed)
	}
	for {
		select {
		case conn := <-s.conns:
			_ = conn.Close()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return s.at }
