package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// receive expects a datagram.
func receive(t testing.TB, c net.Conn, want string) {
	t.Helper()
	buffer := make([]byte, maxDatagram)
	if n, err := c.Read(buffer); err != nil || string(buffer[:n]) != want {
		t.Fatalf("received %.40q, %v; want %.40q", buffer[:n], err, want)
	}
}

func send(t testing.TB, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// Datagrams pass both ways, those that the server starts, too, and clients are kept apart.
func TestLocalUDP(t *testing.T) {
	n := newNode(t, nil)
	server, err := n.peer.ListenUDP(netip.AddrPortFrom(addrB, 5000))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	n.set(t, Spec{Name: "f", Kind: Local, UDP: true, Port: 5000, Target: "b", TargetPort: 5000})
	var clients []net.Conn
	var addresses []net.Addr
	buffer := make([]byte, maxDatagram)
	for i := range 2 {
		c := n.dialHere(t, "udp", "127.0.0.1:5000")
		clients = append(clients, c)
		send(t, c, fmt.Sprint("hello ", i))
		size, from, err := server.ReadFrom(buffer)
		if err != nil || string(buffer[:size]) != fmt.Sprint("hello ", i) {
			t.Fatalf("%q, %v", buffer[:size], err)
		}
		addresses = append(addresses, from)
	}
	for round := range 3 { // of which nobody asked for two
		for i, c := range clients {
			text := fmt.Sprint("news ", round, i)
			if _, err := server.WriteTo([]byte(text), addresses[i]); err != nil {
				t.Fatal(err)
			}
			receive(t, c, text)
		}
	}
	n.awaitStatus(t, func(s Status) bool { return s.Connections == 2 && s.ToTarget == 14 && s.FromTarget == 48 })
	n.Reset()
	n.awaitStatus(t, func(s Status) bool { return s.Connections == 0 })
	send(t, clients[0], "again")
	if size, _, err := server.ReadFrom(buffer); err != nil || string(buffer[:size]) != "again" {
		t.Errorf("%q, %v", buffer[:size], err)
	}
}

func TestMeshUDP(t *testing.T) {
	n := newNode(t, nil)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	port := uint16(server.LocalAddr().(*net.UDPAddr).Port)
	n.set(t, Spec{Name: "f", Kind: Mesh, UDP: true, Port: 53, Target: "127.0.0.1", TargetPort: port, Allow: []string{"b"}})
	c := n.dialMesh(t, "udp", 53)
	for _, text := range []string{"x", "", string(make([]byte, 9000))} {
		send(t, c, text)
		buffer := make([]byte, maxDatagram)
		size, from, err := server.ReadFrom(buffer)
		if err != nil || string(buffer[:size]) != text {
			t.Fatalf("%d bytes, %v; sent %d", size, err, len(text))
		}
		_, _ = server.WriteTo(buffer[:size], from)
		receive(t, c, text)
	}
	n.set(t, Spec{Name: "g", Kind: Mesh, UDP: true, Port: 53, Target: "127.0.0.1", TargetPort: port, Allow: []string{"c"}})
	send(t, c, "x")
	n.awaitStatus(t, func(s Status) bool { return s.Denied == 1 && s.Connections == 0 })
}

// A target that is not there ends the association, and the next datagram tries again.
func TestUDPTargetIsBack(t *testing.T) {
	n := newNode(t, nil)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := server.LocalAddr().String()
	port := uint16(server.LocalAddr().(*net.UDPAddr).Port)
	_ = server.Close()
	n.set(t, Spec{Name: "f", Kind: Mesh, UDP: true, Port: 5000, Target: "127.0.0.1", TargetPort: port})
	c := n.dialMesh(t, "udp", 5000)
	send(t, c, "lost")
	n.awaitStatus(t, func(s Status) bool { return s.Accepted == 1 && s.Connections == 0 })
	if server, err = net.ListenPacket("udp", address); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	send(t, c, "found")
	buffer := make([]byte, 16)
	if size, _, err := server.ReadFrom(buffer); err != nil || string(buffer[:size]) != "found" {
		t.Errorf("%q, %v", buffer[:size], err)
	}
}

// memory is a network of packets and listeners in memory, for tests with virtual time.
type memory struct {
	mu     sync.Mutex
	err    error // of Listen
	opened int
	port   *memoryPort   // what ListenPacket returns
	dials  chan net.Conn // the far ends of sockets towards the target
}

func (m *memory) DialContext(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	m.dials <- far
	return near, nil
}

func (m *memory) Listen(uint16) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened++; m.err != nil {
		return nil, m.err
	}
	return &memoryListener{closed: make(chan struct{})}, nil
}

func (m *memory) ListenPacket(uint16) (net.PacketConn, error) { return m.port, nil }

type memoryListener struct {
	once   sync.Once
	closed chan struct{}
}

func (l *memoryListener) Accept() (net.Conn, error) { <-l.closed; return nil, net.ErrClosed }
func (l *memoryListener) Close() error              { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memoryListener) Addr() net.Addr            { return nil }

// memoryPort is a socket to which clients send.
type memoryPort struct {
	net.PacketConn
	memoryListener
	in chan net.Addr
}

func (p *memoryPort) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case from := <-p.in:
		return copy(b, "x"), from, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}
func (p *memoryPort) WriteTo(b []byte, _ net.Addr) (int, error) { return len(b), nil }
func (p *memoryPort) Close() error                              { return p.memoryListener.Close() }

func newMemory() *memory {
	return &memory{
		port:  &memoryPort{memoryListener: memoryListener{closed: make(chan struct{})}, in: make(chan net.Addr)},
		dials: make(chan net.Conn, 100),
	}
}

// connects is a Host whose targets are in memory.
type connects struct {
	Sockets
	*memory
}

func (c connects) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return c.memory.DialContext(ctx, network, address)
}

func (c connects) Listen(context.Context, string, string) (net.Listener, error) {
	return c.memory.Listen(0)
}

func (c connects) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return c.port, nil
}

func client(i int) net.Addr { return &net.UDPAddr{IP: addrB.AsSlice(), Port: i} }

// drain reads what comes for a target.
func drain(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func TestUDPIdle(t *testing.T) {
	for port, want := range map[uint16]time.Duration{53: dnsIdle, 5000: defaultUDPIdle} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			f := run(t, Config{Mesh: m, Host: connects{memory: m}})
			if err := f.Set([]Spec{{Name: "f", Kind: Mesh, UDP: true, Port: 1, Target: "t", TargetPort: port}}); err != nil {
				t.Fatal(err)
			}
			m.port.in <- client(1)
			far := <-m.dials
			go drain(far)
			time.Sleep(want - time.Second)
			send(t, far, "from the target") // counts, too
			time.Sleep(want - time.Second)
			synctest.Wait()
			if s := f.Status()[0]; s.Connections != 1 {
				t.Errorf("port %d: ended early: %+v", port, s)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if s := f.Status()[0]; s.Connections != 0 {
				t.Errorf("port %d: still there: %+v", port, s)
			}
		})
	}
}

// Beyond the limit, a new client takes the place of one that has been idle for long.
func TestUDPLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		f := run(t, Config{Mesh: m, Host: connects{memory: m}, MaxConnections: 1, MaxAssociations: 2})
		if err := f.Set([]Spec{{Name: "f", Kind: Mesh, UDP: true, Port: 1, Target: "t", TargetPort: 1}}); err != nil {
			t.Fatal(err)
		}
		var ends []net.Conn
		for i := range 2 {
			m.port.in <- client(i)
			ends = append(ends, <-m.dials)
			go drain(ends[i])
			time.Sleep(time.Second)
		}
		m.port.in <- client(2)
		synctest.Wait()
		if s := f.Status()[0]; s.Refused != 1 || s.Connections != 2 {
			t.Errorf("nobody is idle: %+v", s)
		}
		time.Sleep(evictIdle - time.Second)
		m.port.in <- client(2)
		go drain(<-m.dials)
		synctest.Wait()
		if s := f.Status()[0]; s.Refused != 1 || s.Connections != 2 || s.Accepted != 3 {
			t.Errorf("the first is idle: %+v", s)
		}
		if _, err := ends[0].Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the first is still open: %v", err)
		}
	})
}

// What waits for a target is bounded in number and in bytes.
func TestUDPWaiting(t *testing.T) {
	for size, want := range map[int]int{1: maxWaiting, 1200: maxWaiting, 20 << 10: 3, maxDatagram: 1} {
		w := &forward{cfg: new(Config)}
		a := &association{table: newTable(w, nil, nil)}
		for range 2 * maxWaiting {
			a.send(make([]byte, size))
		}
		if got, refused := len(a.waiting), w.refused.Load(); got != want || refused != uint64(2*maxWaiting-want) {
			t.Errorf("of %d bytes each, %d wait and %d are refused; want %d to wait", size, got, refused, want)
		}
	}
}

// A listener that can't be opened is tried again, after Reset at once.
func TestListenRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.err = os.ErrPermission
		f := run(t, Config{Mesh: m, Host: connects{memory: m}})
		if err := f.Set([]Spec{{Name: "f", Kind: Mesh, Port: 1, Target: "t", TargetPort: 1}}); err != nil {
			t.Fatal(err)
		}
		attempts := func() int {
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.opened
		}
		time.Sleep(8 * time.Second) // after 0, 1, 3, 7 s
		if got := attempts(); got != 4 {
			t.Errorf("%d attempts", got)
		}
		if s := f.Status()[0]; s.Listening != 0 || s.Listeners != 1 || !errors.Is(s.Err, os.ErrPermission) {
			t.Errorf("status %+v", s)
		}
		f.Reset()
		if got := attempts(); got != 5 {
			t.Errorf("%d attempts after Reset", got)
		}
		m.mu.Lock()
		m.err = nil
		m.mu.Unlock()
		time.Sleep(retryMax)
		synctest.Wait()
		if s := f.Status()[0]; s.Listening != 1 || s.Err != nil {
			t.Errorf("status %+v", s)
		}
		f.Reset()
		if got := attempts(); got != 7 {
			t.Errorf("%d attempts after the second Reset", got)
		}
	})
}

// noIPv6 is a host without ::1.
type noIPv6 struct{ freePorts }

func (h *noIPv6) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if address == "[::1]:1" {
		return nil, &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
	}
	return h.freePorts.Listen(ctx, network, address)
}

func TestHostWithoutIPv6(t *testing.T) {
	host := &noIPv6{freePorts{taken: map[string]net.Addr{}}}
	f := run(t, Config{Mesh: newMemory(), Host: host})
	if err := f.Set([]Spec{{Name: "f", Kind: Local, Port: 1, Target: "t", TargetPort: 1}}); err != nil {
		t.Fatal(err)
	}
	await(t, func() error {
		if s := f.Status()[0]; s.Listening != 1 || s.Listeners != 1 || s.Err != nil {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
}

// Idle associations hold no buffers.
func TestUDPIdleMemory(t *testing.T) {
	n := newNode(t, nil)
	server, err := n.peer.ListenUDP(netip.AddrPortFrom(addrB, 5000))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	n.set(t, Spec{Name: "f", Kind: Local, UDP: true, Port: 5000, Target: "b", TargetPort: 5000})
	const clients = 100
	before := heap()
	for range clients {
		c := n.dialHere(t, "udp", "127.0.0.1:5000")
		send(t, c, "x")
		_, from, err := server.ReadFrom(make([]byte, 16))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = server.WriteTo([]byte("y"), from)
		receive(t, c, "y")
	}
	if each := (heap() - before) / clients; each > maxDatagram/2 {
		t.Errorf("an idle association takes %d bytes", each)
	}
	if s := n.Status()[0]; s.Connections != clients {
		t.Errorf("status %+v", s)
	}
}
