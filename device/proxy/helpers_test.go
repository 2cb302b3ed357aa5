package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/wirespan/wirespan/device/splice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNetwork answers with what a test says. Without that it is the system's network, where
// "echo.test" is a name of 127.0.0.1.
type fakeNetwork struct {
	dial   func(ctx context.Context, address string) (net.Conn, error)
	packet func() (PacketConn, error)
}

func (f fakeNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, fmt.Errorf("network %q", network)
	}
	if f.dial != nil {
		return f.dial(ctx, address)
	}
	if host, port, err := net.SplitHostPort(address); err == nil && host == "echo.test" {
		address = "127.0.0.1:" + port
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (f fakeNetwork) ListenPacket(context.Context) (PacketConn, error) {
	if f.packet != nil {
		return f.packet()
	}
	conn, err := net.ListenUDP("udp", nil)
	return systemPackets{conn}, err
}

type systemPackets struct{ *net.UDPConn }

func (s systemPackets) WaitReadable() error { return splice.WaitReadable(s.UDPConn) }

func (s systemPackets) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	n, from, err := s.ReadFromUDPAddrPort(p)
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

func (s systemPackets) WriteTo(p []byte, host string, port uint16) (int, error) {
	if host == "echo.test" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return 0, ErrNoSuchHost
	}
	return s.WriteToUDPAddrPort(p, netip.AddrPortFrom(ip, port))
}

// failing is a network on which every dial ends with an error.
func failing(err error) fakeNetwork {
	return fakeNetwork{
		dial:   func(context.Context, string) (net.Conn, error) { return nil, err },
		packet: func() (PacketConn, error) { return nil, err },
	}
}

// serveOn serves a proxy until stop is called or the test has ended.
func serveOn(t testing.TB, c Config, l net.Listener) (s *Server, stop func()) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if st := s.Stats(); st.Open != 0 || st.Associations != 0 {
			t.Errorf("after the end: %+v", st)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func listen(t testing.TB, network string) net.Listener {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// startProxy serves on TCP and returns the address.
func startProxy(t testing.TB, c Config) (string, *Server) {
	t.Helper()
	l := listen(t, "tcp")
	s, _ := serveOn(t, c, l)
	return l.Addr().String(), s
}

func connect(t testing.TB, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, c io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("received %q, %v, want %q", got[:n], err, want)
	}
}

func expectEnd(t testing.TB, c io.Reader) {
	t.Helper()
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Fatalf("received %q, %v, want the end", got, err)
	}
}

// startEcho returns the address of a server that sends back what it gets.
func startEcho(t testing.TB) netip.AddrPort {
	t.Helper()
	l := listen(t, "tcp")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// pipeListener is a listener in memory, for synctest.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.done:
		return errors.New("closed twice")
	default:
		close(l.done)
		return nil
	}
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
