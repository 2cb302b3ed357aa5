package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestLocalTCP(t *testing.T) {
	n := newNode(t, nil)
	n.echoOnPeer(t, 80)
	n.echoOnPeer(t, 81)
	socket := filepath.Join(t.TempDir(), "s")
	n.set(t,
		Spec{Name: "name", Kind: Local, Port: 8080, Target: "b", TargetPort: 80},
		Spec{Name: "range", Kind: Local, Bind: netip.MustParseAddr("127.0.0.1"), Port: 9080, Count: 2, Target: addrB.String(), TargetPort: 80},
		Spec{Name: "socket", Kind: Local, Socket: socket, Target: "b", TargetPort: 80},
	)
	ping(t, n.dialHere(t, "tcp", "127.0.0.1:8080"), "loopback")
	ping(t, n.dialHere(t, "tcp", "127.0.0.1:9081"), "second of range")
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("half-close"))
	_ = c.(*net.UnixConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "half-close" {
		t.Errorf("%q, %v", got, err)
	}
	await(t, func() error {
		if s := n.Status()[2]; s.Connections != 0 || s.Accepted != 1 || s.ToTarget != 10 || s.FromTarget != 10 {
			return errors.New("counters are wrong")
		}
		return nil
	})
}

// A target that refuses or resets is passed on as a reset.
func TestTargetFails(t *testing.T) {
	n := newNode(t, nil)
	n.set(t, Spec{Name: "f", Kind: Local, Port: 8080, Target: "b", TargetPort: 80})
	resetAtOnce(t, func() (net.Conn, error) { return net.Dial("tcp", n.host.addr("127.0.0.1:8080")) })
	n.awaitStatus(t, func(s Status) bool {
		return s.Failed == 1 && s.Connections == 0
	})
}

func TestMeshTCP(t *testing.T) {
	n := newNode(t, nil)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	echo(t, l, err)
	port := echoHere(t)
	n.set(t,
		Spec{Name: "port", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: port},
		Spec{Name: "socket", Kind: Mesh, Port: 81, TargetSocket: socket},
	)
	ping(t, n.dialMesh(t, "tcp", 80), "port")
	c := n.dialMesh(t, "tcp", 81)
	_, _ = c.Write([]byte("half-close"))
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "half-close" {
		t.Errorf("%q, %v", got, err)
	}
}

// The target sees the peer's address, and what the peer sent follows.
func TestProxyHeader(t *testing.T) {
	n := newNode(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n.set(t, Spec{Name: "f", Kind: Mesh, Port: 80, Target: "localhost", TargetPort: uint16(l.Addr().(*net.TCPAddr).Port), Proxy: true})
	c := n.dialMesh(t, "tcp", 80)
	_, _ = c.Write([]byte("data"))
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	header, data := make([]byte, 52), make([]byte, 4)
	if _, err := io.ReadFull(server, header); err != nil {
		t.Fatal(err)
	}
	from, to, err := parseProxyHeader(header)
	if err != nil || from.Addr() != addrB || to != netip.AddrPortFrom(addrA, 80) || from.String() != c.LocalAddr().String() {
		t.Errorf("from %v to %v, %v", from, to, err)
	}
	if _, err := io.ReadFull(server, data); err != nil || string(data) != "data" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestAllow(t *testing.T) {
	n := newNode(t, nil)
	port := echoHere(t)
	for _, tt := range []struct {
		allow string
		want  bool
	}{
		{"", true},
		{"b", true},
		{"idOfB", true},
		{"fd00::b", true},
		{"fd00::/64", true},
		{"a", false},
		{"fd00::a", false},
		{"a 10.0.0.0/8 b", true},
	} {
		n.set(t, Spec{Name: "f" + tt.allow, Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: port, Allow: strings.Fields(tt.allow)})
		if tt.want {
			ping(t, n.dialMesh(t, "tcp", 80), "x")
			continue
		}
		resetAtOnce(t, n.toMesh(t, 80))
		if s := n.Status()[0]; s.Denied != 1 || s.Accepted != 0 {
			t.Errorf("allow %q: %+v", tt.allow, s)
		}
	}
}

// Connections of forwards that stay live on; those of a forward that is gone are reset.
func TestSet(t *testing.T) {
	n := newNode(t, nil)
	n.echoOnPeer(t, 80)
	keep := Spec{Name: "keep", Kind: Local, Port: 1, Target: "b", TargetPort: 80}
	changes := Spec{Name: "changes", Kind: Local, Port: 2, Target: "b", TargetPort: 80}
	n.set(t, keep, changes)
	kept, changed := n.dialHere(t, "tcp", "127.0.0.1:1"), n.dialHere(t, "tcp", "127.0.0.1:2")
	ping(t, kept, "x")
	ping(t, changed, "x")
	old := n.host.addr("127.0.0.1:2")
	changes.Target = addrB.String()
	n.set(t, changes, keep)
	isReset(t, changed)
	if c, err := net.Dial("tcp", old); err == nil {
		_ = c.Close()
		t.Error("the old listener is open")
	}
	ping(t, kept, "y")
	ping(t, n.dialHere(t, "tcp", "127.0.0.1:2"), "z")
	if s := n.Status(); s[1].Accepted != 1 || s[1].Connections != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestSetRefusesInvalid(t *testing.T) {
	good := Spec{Name: "good", Kind: Local, Port: 1, Target: "b", TargetPort: 1}
	for _, tt := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(s *Spec) { s.Name = "" }, "no name"},
		{func(s *Spec) { s.Name = "good" }, "used twice"},
		{func(s *Spec) { s.Kind = 0 }, "unknown kind"},
		{func(s *Spec) { s.Port = 0 }, "port or target is missing"},
		{func(s *Spec) { s.Target = "" }, "port or target is missing"},
		{func(s *Spec) { s.Port, s.Count = 65535, 2 }, "beyond 65535"},
		{func(s *Spec) { s.TargetPort, s.Count = 65535, 2 }, "beyond 65535"},
		{func(s *Spec) { s.Socket, s.UDP = "/s", true }, "unix socket"},
		{func(s *Spec) { s.TargetSocket = "/s" }, "unix socket"},
		{func(s *Spec) { s.Kind, s.Bind = Mesh, addrA }, "address to listen on"},
		{func(s *Spec) { s.Proxy = true }, "PROXY protocol"},
		{func(s *Spec) { s.Allow = []string{"b"} }, "lists of peers"},
	} {
		f, err := New(Config{Mesh: &meshOf{}})
		if err != nil {
			t.Fatal(err)
		}
		bad := good
		bad.Name = "bad"
		tt.change(&bad)
		if err := f.Set([]Spec{good, bad}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
		if s := f.Status(); len(s) != 1 || s[0].Name != "good" {
			t.Errorf("status %+v", s)
		}
	}
}

// Listeners on the mesh move to a new data plane.
func TestReset(t *testing.T) {
	n := newNode(t, nil)
	port := echoHere(t)
	n.set(t, Spec{Name: "tcp", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: port},
		Spec{Name: "udp", Kind: Mesh, UDP: true, Port: 80, Target: "127.0.0.1", TargetPort: port})
	c := n.dialMesh(t, "tcp", 80)
	ping(t, c, "x")
	a, b := stacks(t)
	n.mesh.mu.Lock()
	old := n.mesh.stack
	n.mesh.stack, n.peer = a, b
	n.mesh.mu.Unlock()
	_ = old.Close()
	n.Reset()
	await(t, func() error {
		c, err := b.DialContext(t.Context(), "tcp", netip.AddrPortFrom(addrA, 80).String())
		if err == nil {
			defer c.Close()
			ping(t, c, "y")
		}
		return err
	})
	n.awaitStatus(t, func(s Status) bool { return s.Connections == 0 }) // the old ones ended
	await(t, func() error {
		if s := n.Status()[1]; s.Listening != 1 {
			return errors.New("UDP is not open")
		}
		return nil
	})
}

func TestLimits(t *testing.T) {
	n := newNode(t, func(c *Config) { c.MaxConnections = 2 })
	n.set(t, Spec{Name: "f", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: echoHere(t)})
	first, second := n.dialMesh(t, "tcp", 80), n.dialMesh(t, "tcp", 80)
	ping(t, first, "x")
	ping(t, second, "x")
	resetAtOnce(t, n.toMesh(t, 80))
	_ = first.Close()
	n.awaitStatus(t, func(s Status) bool { return s.Connections == 1 && s.Refused == 1 })
	ping(t, n.dialMesh(t, "tcp", 80), "x")
}

// stuckHost never connects.
type stuckHost struct{ freePorts }

func (*stuckHost) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Connections whose target does not answer are bounded, and end when the forward ends.
func TestPending(t *testing.T) {
	n := newNode(t, func(c *Config) { c.Host, c.MaxPending = new(stuckHost), 3 })
	n.set(t, Spec{Name: "f", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: 1})
	var open []net.Conn
	for range 3 {
		open = append(open, n.dialMesh(t, "tcp", 80))
	}
	n.awaitStatus(t, func(s Status) bool { return s.Connections == 3 })
	resetAtOnce(t, n.toMesh(t, 80))
	resetAtOnce(t, n.toMesh(t, 80))
	n.awaitStatus(t, func(s Status) bool { return s.Connections == 3 && s.Refused == 2 })
	n.set(t)
	for _, c := range open {
		isReset(t, c)
	}
}

// One that reads nothing holds up nobody else.
func TestSlowConsumer(t *testing.T) {
	n := newNode(t, nil)
	port := echoHere(t)
	n.set(t, Spec{Name: "f", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: port})
	slow := n.dialMesh(t, "tcp", 80)
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		for {
			if _, err := slow.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	var work sync.WaitGroup
	for range 20 {
		c := n.dialMesh(t, "tcp", 80)
		work.Go(func() {
			const size = 256 << 10
			go func() { _, _ = c.Write(make([]byte, size)) }()
			if got, err := io.CopyN(io.Discard, c, size); got != size {
				t.Errorf("received %d bytes, %v", got, err)
			}
		})
	}
	work.Wait()
	_ = slow.Close()
	<-stuck
}

// Memory and goroutines return when connections end, or are abandoned without a close.
func TestManyConnections(t *testing.T) {
	n := newNode(t, nil)
	port := echoHere(t)
	n.set(t, Spec{Name: "f", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: port})
	ping(t, n.dialMesh(t, "tcp", 80), "x") // whatever is made once exists now
	goroutines, memory := runtime.NumGoroutine(), heap()
	for range 10 {
		var abandoned []net.Conn
		for i := range 100 {
			c, err := n.peer.DialContext(t.Context(), "tcp", netip.AddrPortFrom(addrA, 80).String())
			if err != nil {
				t.Fatal(err)
			}
			ping(t, c, "x")
			if i%2 == 0 {
				_ = c.Close()
			} else {
				abandoned = append(abandoned, c)
			}
		}
		n.awaitStatus(t, func(s Status) bool { return s.Connections == 1+len(abandoned) })
		// The peers are gone: the stack finds out by a reset to whatever it sends.
		for _, c := range abandoned {
			_ = c.(interface{ SetLinger(int) error }).SetLinger(0)
			_ = c.Close()
		}
		n.awaitStatus(t, func(s Status) bool { return s.Connections == 1 })
	}
	await(t, func() error {
		if now := runtime.NumGoroutine(); now > goroutines+10 {
			return errors.New("goroutines are left")
		}
		return nil
	})
	await(t, func() error {
		if grown := heap() - memory; grown > 8<<20 {
			return os.ErrInvalid
		}
		return nil
	})
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
