package bind

import (
	"errors"
	"net/netip"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// batch is the arguments that a device gives to a ReceiveFunc.
type batch struct {
	bufs  [][]byte
	sizes []int
	eps   []conn.Endpoint
}

func newBatch() *batch {
	b := &batch{make([][]byte, conn.IdealBatchSize), make([]int, conn.IdealBatchSize), make([]conn.Endpoint, conn.IdealBatchSize)}
	for i := range b.bufs {
		b.bufs[i] = make([]byte, 65535)
	}
	return b
}

// receive calls fn once, and do with each datagram that it received.
func (b *batch) receive(t testing.TB, fn conn.ReceiveFunc, do func(datagram []byte, ep conn.Endpoint)) {
	t.Helper()
	n, err := fn(b.bufs, b.sizes, b.eps)
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range b.sizes[:n] {
		if size > 0 {
			do(b.bufs[i][:size], b.eps[i])
		}
	}
}

func local4(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func local6(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), port) }

// open returns an open Bind, its receive functions for IPv4 and IPv6, and its port.
func open(t testing.TB, b conn.Bind) ([]conn.ReceiveFunc, uint16) {
	t.Helper()
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return fns, port
}

// parse returns b's endpoint for an address.
func parse(t testing.TB, b conn.Bind, to netip.AddrPort) conn.Endpoint {
	t.Helper()
	ep, err := b.ParseEndpoint(to.String())
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

func setOption(s *socket, level, name, value int) error {
	var optErr error
	err := s.raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, name, value) })
	return errors.Join(err, optErr)
}

func option(s *socket, level, name int) (value int, err error) {
	var optErr error
	err = s.raw.Control(func(fd uintptr) { value, optErr = unix.GetsockoptInt(int(fd), level, name) })
	return value, errors.Join(err, optErr)
}
