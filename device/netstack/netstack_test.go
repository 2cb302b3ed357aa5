package netstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/tun"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	addrA  = netip.MustParseAddr("fd00::a")
	addrB  = netip.MustParseAddr("fd00::b")
	addrA4 = netip.MustParseAddr("10.0.0.1")
	addrB4 = netip.MustParseAddr("10.0.0.2")
)

func newStack(t testing.TB, addresses ...netip.Addr) *Netstack {
	t.Helper()
	n, err := New(Config{Addresses: addresses, MTU: 1420})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// echoServer sends back every byte it gets.
func echoServer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
	}
}

func TestTCP(t *testing.T) {
	a, b := wire(t)
	l, err := b.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), 80))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go echoServer(l)
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	for _, to := range []string{"[fd00::b]:80", "10.0.0.2:80", "[::ffff:10.0.0.2]:80"} {
		c, err := a.DialContext(t.Context(), "tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = c.Write(data) }()
		got := make([]byte, len(data))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %v, equal %v", to, err, bytes.Equal(got, data))
		}
		_ = c.Close()
	}
	own, err := b.DialContext(t.Context(), "tcp6", "[fd00::b]:80")
	if err != nil {
		t.Fatalf("dial itself: %v", err)
	}
	_ = own.Close()
}

func TestUDP(t *testing.T) {
	a, b := wire(t)
	l, err := b.ListenUDP(netip.AddrPortFrom(addrB, 53))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := a.DialContext(t.Context(), "udp", "[fd00::b]:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	n, from, err := l.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "ping" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	if _, err := l.WriteTo([]byte("pong"), from); err != nil {
		t.Fatal(err)
	}
	if n, err = c.Read(buf); err != nil || string(buf[:n]) != "pong" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	bound, err := a.DialUDP(netip.AddrPortFrom(addrA, 999), netip.AddrPortFrom(addrB, 53))
	if err != nil {
		t.Fatal(err)
	}
	defer bound.Close()
	if got := bound.LocalAddr().String(); got != "[fd00::a]:999" {
		t.Errorf("local address %s", got)
	}
}

func TestDialErrors(t *testing.T) {
	a, _ := wire(t)
	for _, tc := range []struct{ network, address string }{
		{"tcp", "[fd00::b]:81"}, // closed port: reset at once
		{"tcp", "name:80"}, {"tcp", "10.0.0.2"}, {"tcp6", "10.0.0.2:80"}, {"tcp4", "[fd00::b]:80"}, {"unix", "10.0.0.2:80"},
	} {
		if c, err := a.DialContext(t.Context(), tc.network, tc.address); err == nil {
			_ = c.Close()
			t.Errorf("%s %s: connected", tc.network, tc.address)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.DialContext(ctx, "tcp", "[fd00::ffff]:80"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled dial: %v", err)
	}
	if _, err := a.ListenTCP(netip.AddrPortFrom(addrB, 80)); err == nil {
		t.Error("listened on another node's address")
	}
}

func TestConfigure(t *testing.T) {
	a, b := wire(t)
	l, err := b.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), 80))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go echoServer(l)
	next := netip.MustParsePrefix("fd00:0:0:1::b/64")
	for range 2 {
		if err := b.Configure(1300, []netip.Prefix{next, next, netip.PrefixFrom(addrB4, 32)}); err != nil {
			t.Fatal(err)
		}
	}
	if mtu, _ := b.MTU(); mtu != 1300 {
		t.Errorf("MTU = %d", mtu)
	}
	if e := <-b.Events(); e != tun.EventMTUUpdate || len(b.Events()) != 0 {
		t.Errorf("event %v, then %d more", e, len(b.Events()))
	}
	c, err := a.DialContext(t.Context(), "tcp", "[fd00:0:0:1::b]:80")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if src, err := b.Source(addrA); err != nil || src != next.Addr() {
		t.Errorf("source %v, %v", src, err)
	}
	if src, err := b.Source(addrA4); err != nil || src != addrB4 {
		t.Errorf("IPv4 source %v, %v", src, err)
	}
	if err := b.Configure(1300, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Source(addrA); err == nil {
		t.Error("a stack without addresses has a source")
	}
	_ = b.Close()
	if err := b.Configure(1300, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("configure after close: %v", err)
	}
}

func TestCloseEndsReadAndConnections(t *testing.T) {
	a, b := wire(t)
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
		_, err := l.Accept()
		if err == nil {
			t.Error("accepted after close")
		}
		close(accepted)
	}()
	c, err := a.DialContext(t.Context(), "tcp", "[fd00::b]:80")
	if err != nil {
		t.Fatal(err)
	}
	server := <-accepted
	_ = b.Close()
	_ = b.Close()
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived its stack")
	}
	_ = l.Close()
	<-accepted
	if err := b.Inject([]byte{0x60}); err == nil {
		t.Error("a closed stack took a packet")
	}
	_ = a.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived its stack")
	}
}
