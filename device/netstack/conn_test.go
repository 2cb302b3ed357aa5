package netstack

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// socket is what a TCP connection offers beside net.Conn.
type socket interface {
	net.Conn
	CloseWrite() error
	CloseRead() error
	SetLinger(seconds int) error
	WaitReadable() error
	Broken() error
}

// pair returns both ends of a connection.
func pair(t *testing.T) (dialled, accepted socket) {
	t.Helper()
	a, b := wire(t)
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, err := a.DialTCPAddrPort(t.Context(), netip.MustParseAddrPort("[fd00::b]:80"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = d.Close(), c.Close() })
	return d.(socket), c.(socket)
}

func TestHalfClose(t *testing.T) {
	d, c := pair(t)
	_, _ = d.Write([]byte("question"))
	if err := d.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "question" {
		t.Fatalf("%q, %v", got, err)
	}
	_, _ = c.Write([]byte("answer"))
	_ = c.Close()
	if got, err := io.ReadAll(d); err != nil || string(got) != "answer" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestReset(t *testing.T) {
	d, c := pair(t)
	_ = d.SetLinger(0)
	_ = d.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	if _, err := d.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

func TestBroken(t *testing.T) {
	d, c := pair(t)
	_ = d.CloseWrite()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := c.Broken(); err != nil {
		t.Errorf("half-closed: %v", err)
	}
	_ = d.SetLinger(0)
	_ = d.Close()
	for c.Broken() == nil { // until the reset arrives
		runtime.Gosched()
	}
	_ = c.Close()
	if err := c.Broken(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestLingerIsUndone(t *testing.T) {
	d, c := pair(t)
	_ = d.SetLinger(0)
	_ = d.SetLinger(-1)
	_, _ = d.Write([]byte("all"))
	_ = d.Close()
	if got, err := io.ReadAll(c); err != nil || string(got) != "all" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWaitReadable(t *testing.T) {
	d, c := pair(t)
	_, _ = d.Write([]byte("x"))
	for range 3 { // it takes nothing
		if err := c.WaitReadable(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	waited := make(chan error)
	go func() { waited <- c.WaitReadable() }()
	_, _ = d.Write([]byte("y"))
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	_ = c.SetReadDeadline(time.Now().Add(-time.Second))
	if err := c.WaitReadable(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	go func() { waited <- c.WaitReadable() }()
	_ = d.CloseWrite()
	if err := <-waited; err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// Close wakes whoever waits.
func TestCloseWakes(t *testing.T) {
	d, c := pair(t)
	ended := make(chan error, 3)
	go func() { ended <- d.WaitReadable() }()
	go func() { _, err := d.Read(make([]byte, 1)); ended <- err }()
	go func() { // until the window of c is full
		for {
			if _, err := d.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}()
	if err := c.WaitReadable(); err != nil {
		t.Fatal(err)
	}
	_ = d.SetLinger(0)
	_ = d.Close()
	for range cap(ended) {
		if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestErrorNumbers(t *testing.T) {
	a, b := wire(t)
	if _, err := a.DialContext(t.Context(), "tcp", "[fd00::b]:81"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("closed port: %v", err)
	}
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.ListenTCP(netip.AddrPortFrom(addrB, 80)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: %v", err)
	}
	accepted := make(chan error)
	go func() { _, err := l.Accept(); accepted <- err }()
	_, _ = l.Close(), l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed listener: %v", err)
	}
	l, err = b.ListenTCP(netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, err := l.Accept(); accepted <- err }()
	_ = b.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("listener of a closed stack: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.DialContext(ctx, "tcp", "[fd00::b]:80"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestUDPWaitReadable(t *testing.T) {
	a, b := wire(t)
	l, err := b.ListenUDP(netip.AddrPortFrom(addrB, 53))
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.DialContext(t.Context(), "udp", "[fd00::b]:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server := l.(interface {
		net.PacketConn
		WaitReadable() error
	})
	waited := make(chan error)
	go func() { waited <- server.WaitReadable() }()
	_, _ = c.Write([]byte("x"))
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if n, _, err := server.ReadFrom(make([]byte, 16)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	go func() {
		_ = server.WaitReadable()
		_, _, err := server.ReadFrom(make([]byte, 16))
		waited <- err
	}()
	_ = server.Close()
	if err := <-waited; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := server.WriteTo(nil, c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

// A connected socket learns that nobody listens.
func TestUDPRefused(t *testing.T) {
	a, _ := wire(t)
	c, err := a.DialContext(t.Context(), "udp", "[fd00::b]:54")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("x"))
	if err := c.(interface{ WaitReadable() error }).WaitReadable(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 16)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("read: %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := c.Read(make([]byte, 16)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
}
