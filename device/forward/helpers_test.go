package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wirespan/wirespan/device/netstack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addrA = netip.MustParseAddr("fd00::a") // the node under test
	addrB = netip.MustParseAddr("fd00::b") // its peer
)

// stacks returns the network stacks of two nodes, and carries packets between them.
func stacks(t testing.TB) (a, b *netstack.Netstack) {
	t.Helper()
	var pumps sync.WaitGroup
	open := func(addr netip.Addr) *netstack.Netstack {
		n, err := netstack.New(netstack.Config{Addresses: []netip.Addr{addr}, MTU: 1420})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	a, b = open(addrA), open(addrB)
	pump := func(from, to *netstack.Netstack) {
		bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
		for i := range bufs {
			bufs[i] = make([]byte, 2048)
		}
		for {
			n, err := from.Read(bufs, sizes, 16)
			if err != nil {
				return
			}
			out := make([][]byte, n)
			for i := range out {
				out[i] = bufs[i][:16+sizes[i]]
			}
			_, _ = to.Write(out, 16)
		}
	}
	pumps.Go(func() { pump(a, b) })
	pumps.Go(func() { pump(b, a) })
	t.Cleanup(func() { _, _ = a.Close(), b.Close(); pumps.Wait() })
	return a, b
}

// meshOf is a node's Network.
type meshOf struct {
	mu    sync.Mutex
	stack *netstack.Netstack // may be replaced
}

func (m *meshOf) current() *netstack.Netstack {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stack
}

func (m *meshOf) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(address)
	if host == "b" {
		host = addrB.String()
	}
	return m.current().DialContext(ctx, network, net.JoinHostPort(host, port))
}

func (m *meshOf) Listen(port uint16) (net.Listener, error) {
	return m.current().ListenTCP(netip.AddrPortFrom(addrA, port))
}

func (m *meshOf) ListenPacket(port uint16) (net.PacketConn, error) {
	return m.current().ListenUDP(netip.AddrPortFrom(addrA, port))
}

// freePorts is a Host that listens on free ports, whatever was asked for.
type freePorts struct {
	Sockets
	mu    sync.Mutex
	taken map[string]net.Addr // by the address asked for
}

func (h *freePorts) note(asked string, got net.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken[asked] = got
}

func (h *freePorts) addr(asked string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken[asked].String()
}

func anyPort(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return net.JoinHostPort(host, "0")
}

func (h *freePorts) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if network == "unix" {
		return h.Sockets.Listen(ctx, network, address)
	}
	l, err := h.Sockets.Listen(ctx, network, anyPort(address))
	if err == nil {
		h.note(address, l.Addr())
	}
	return l, err
}

func (h *freePorts) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	pc, err := h.Sockets.ListenPacket(ctx, network, anyPort(address))
	if err == nil {
		h.note(address, pc.LocalAddr())
	}
	return pc, err
}

// node is a node that forwards, and its peer.
type node struct {
	*Forwarder
	mesh *meshOf
	host *freePorts
	peer *netstack.Netstack
}

func newNode(t testing.TB, change func(*Config)) *node {
	t.Helper()
	a, b := stacks(t)
	n := &node{mesh: &meshOf{stack: a}, host: &freePorts{taken: map[string]net.Addr{}}, peer: b}
	c := Config{Mesh: n.mesh, Host: n.host, Names: func(addr netip.Addr) []string {
		if addr == addrB {
			return []string{"b", "idOfB"}
		}
		return nil
	}}
	if change != nil {
		change(&c)
	}
	n.Forwarder = run(t, c)
	return n
}

// run runs a Forwarder until the test ends.
func run(t testing.TB, c Config) *Forwarder {
	t.Helper()
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return f
}

// set replaces the forwards and waits until all listen.
func (n *node) set(t testing.TB, specs ...Spec) {
	t.Helper()
	if err := n.Set(specs); err != nil {
		t.Fatal(err)
	}
	await(t, func() error {
		for _, s := range n.Status() {
			if s.Listening == 0 || s.Listening != s.Listeners {
				return fmt.Errorf("%s listens on %d of %d: %w", s.Name, s.Listening, s.Listeners, s.Err)
			}
		}
		return nil
	})
}

// await waits until check passes.
func await(t testing.TB, check func() error) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal(err)
		}
	}
}

// awaitStatus waits until the only forward's state is as it should be.
func (n *node) awaitStatus(t testing.TB, good func(Status) bool) {
	t.Helper()
	await(t, func() error {
		if s := n.Status()[0]; !good(s) {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// echo accepts connections and sends back what comes, until the test ends.
func echo(t testing.TB, l net.Listener, err error) net.Addr {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			work.Go(func() { _, _ = io.Copy(c, c); _ = c.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return l.Addr()
}

func (n *node) echoOnPeer(t testing.TB, port uint16) {
	t.Helper()
	l, err := n.peer.ListenTCP(netip.AddrPortFrom(addrB, port))
	echo(t, l, err)
}

// echoHere returns the port of an echo server on 127.0.0.1.
func echoHere(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	return uint16(echo(t, l, err).(*net.TCPAddr).Port)
}

// dialHere connects to a local forward.
func (n *node) dialHere(t testing.TB, network, asked string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, n.host.addr(asked))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialMesh connects from the peer to a forward on the mesh.
func (n *node) dialMesh(t testing.TB, network string, port uint16) net.Conn {
	t.Helper()
	c, err := n.peer.DialContext(t.Context(), network, netip.AddrPortFrom(addrA, port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ping sends text and expects it back.
func ping(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("sent %q, got %q, %v", text, got, err)
	}
}

// isReset expects that a connection was reset.
func isReset(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
}

// resetAtOnce expects that a connection is reset. Dial may know already.
func resetAtOnce(t testing.TB, dial func() (net.Conn, error)) {
	t.Helper()
	c, err := dial()
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connect: %v", err)
	}
}

// toMesh returns a function that connects from the peer to a forward on the mesh.
func (n *node) toMesh(t testing.TB, port uint16) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		return n.peer.DialContext(t.Context(), "tcp", netip.AddrPortFrom(addrA, port).String())
	}
}
