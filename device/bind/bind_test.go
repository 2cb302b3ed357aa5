package bind

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestIsHandshake(t *testing.T) {
	for _, tc := range []struct {
		size int
		kind byte
		want bool
	}{
		{148, 1, true}, {92, 2, true}, {64, 3, true},
		{148, 4, false}, {92, 4, false}, {64, 4, false}, {92, 1, false}, {147, 1, false}, {0, 0, false}, {1, 1, false},
	} {
		msg := make([]byte, tc.size)
		if tc.size > 0 {
			msg[0] = tc.kind
		}
		if got := isHandshake(msg); got != tc.want {
			t.Errorf("type %d of %d bytes: %v", tc.kind, tc.size, got)
		}
	}
	reserved := make([]byte, 148)
	reserved[0], reserved[1] = 1, 1
	if isHandshake(reserved) {
		t.Error("a message with reserved bits set is no handshake")
	}
}

// open returns an open Bind and its IPv4 receive function.
func open(t *testing.T) (*Bind, conn.ReceiveFunc, netip.AddrPort) {
	t.Helper()
	b := New(nil)
	fns, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, fns[0], netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// receive returns the next message and who sent it.
func receive(t *testing.T, b *Bind, fn conn.ReceiveFunc) ([]byte, *endpoint) {
	t.Helper()
	bufs, sizes, eps := make([][]byte, b.BatchSize()), make([]int, b.BatchSize()), make([]conn.Endpoint, b.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 65535)
	}
	n, err := fn(bufs, sizes, eps)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if sizes[i] > 0 {
			return bufs[i][:sizes[i]], eps[i].(*endpoint)
		}
	}
	t.Fatal("nothing received")
	return nil, nil
}

func TestSendReceiveAndSignal(t *testing.T) {
	a, _, _ := open(t)
	b, fn, at := open(t)
	to, err := a.ParseEndpoint(at.String())
	if err != nil {
		t.Fatal(err)
	}
	handshake := make([]byte, 148)
	handshake[0] = 1
	for _, tc := range []struct {
		msg    []byte
		signal int
	}{{make([]byte, 32), 0}, {handshake, 1}, {handshake, 1}} {
		if err := a.Send([][]byte{tc.msg}, to); err != nil {
			t.Fatal(err)
		}
		if got, _ := receive(t, b, fn); len(got) != len(tc.msg) {
			t.Errorf("received %d bytes, want %d", len(got), len(tc.msg))
		}
		if len(b.Handshakes()) != tc.signal {
			t.Errorf("%d signals, want %d", len(b.Handshakes()), tc.signal)
		}
	}
	if err := a.Send(nil, &conn.StdNetEndpoint{}); !errors.Is(err, conn.ErrWrongEndpointType) {
		t.Errorf("foreign endpoint: %v", err)
	}
	if _, err := a.ParseEndpoint("nonsense"); err == nil {
		t.Error("parsed nonsense")
	}
}

// loopback is an endpoint of b at port 9 whose packets came to 127.0.0.1.
func loopback(t *testing.T, b *Bind) *endpoint {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	ep, err := b.ParseEndpoint("127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	// Upstream sets the source from control messages alone: this is their form.
	src := make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&src[0]))
	header.Level, header.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	header.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	*(*unix.Inet4Pktinfo)(unsafe.Pointer(&src[unix.CmsgLen(0)])) = unix.Inet4Pktinfo{
		Ifindex: int32(lo.Index), Spec_dst: [4]byte{127, 0, 0, 1},
	}
	e := ep.(*endpoint)
	(*struct {
		netip.AddrPort
		src []byte
	})(unsafe.Pointer(e.StdNetEndpoint)).src = src
	if e.SrcIP().String() != "127.0.0.1" || int(e.SrcIfidx()) != lo.Index {
		t.Fatalf("source %v on %d", e.SrcIP(), e.SrcIfidx())
	}
	return e
}

func TestSourceIsCheckedAfterAChange(t *testing.T) {
	b, _, _ := open(t)
	e := loopback(t, b)
	if err := b.Send([][]byte{{0}}, e); err != nil {
		t.Fatal(err)
	}
	b.generation.Add(1)
	if e.target(b) != e.StdNetEndpoint {
		t.Error("a source that still fits was dropped")
	}
	if b.routes.leavesBy(int(e.SrcIfidx())+1000, e.SrcIP(), e.DstIP(), 0) {
		t.Error("packets to loopback leave by another interface")
	}
	if b.routes.leavesBy(int(e.SrcIfidx()), netip.MustParseAddr("192.0.2.77"), e.DstIP(), 0) {
		t.Error("packets leave from an address the host does not have")
	}
	e.ClearSrc()
	if got := e.target(b); got.SrcIP().IsValid() || got.AddrPort != e.AddrPort {
		t.Errorf("cleared endpoint: %v from %v", got, got.SrcIP())
	}
	if !e.SrcIP().IsValid() {
		t.Error("a shared endpoint was changed")
	}
}

// fakeStd refuses what a test wants refused.
type fakeStd struct {
	conn.Bind
	markErr error
	sendErr error // for endpoints with a source
	sent    []conn.Endpoint
}

func (f *fakeStd) SetMark(uint32) error { return f.markErr }

func (f *fakeStd) Send(_ [][]byte, ep conn.Endpoint) error {
	f.sent = append(f.sent, ep)
	if ep.SrcIP().IsValid() {
		return f.sendErr
	}
	return nil
}

func TestRefusedSourceIsDropped(t *testing.T) {
	b, _, _ := open(t)
	for _, tc := range []struct {
		err   error
		sends int
	}{{unix.EINVAL, 3}, {unix.ENODEV, 3}, {unix.EPERM, 2}} {
		from := loopback(t, b)
		std := &fakeStd{sendErr: os.NewSyscallError("sendmmsg", tc.err)}
		c := &Bind{std: std}
		c.generation.Store(b.generation.Load())
		if err := c.Send(nil, from); (err == nil) != (tc.sends == 3) {
			t.Errorf("%v: first send: %v", tc.err, err)
		}
		_ = c.Send(nil, from)
		if len(std.sent) != tc.sends {
			t.Errorf("%v: %d sends, want %d", tc.err, len(std.sent), tc.sends)
		}
	}
}

func TestSetMark(t *testing.T) {
	b := New(nil)
	b.std = &fakeStd{markErr: os.NewSyscallError("setsockopt", unix.EPERM)}
	if err := b.SetMark(0x20); err != nil || b.mark.Load() != 0 {
		t.Errorf("without the right: %v, mark %#x", err, b.mark.Load())
	}
	b.std = &fakeStd{markErr: unix.EIO}
	if err := b.SetMark(0x20); !errors.Is(err, unix.EIO) {
		t.Errorf("another error: %v", err)
	}
	b.std = &fakeStd{}
	if err := b.SetMark(0x20); err != nil || b.mark.Load() != 0x20 {
		t.Errorf("with the right: %v, mark %#x", err, b.mark.Load())
	}
}

func TestControl(t *testing.T) {
	lc := net.ListenConfig{Control: Control(0x20)}
	l, err := lc.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if os.Geteuid() != 0 {
		return // it opened, unmarked
	}
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var mark int
	if err := raw.Control(func(fd uintptr) { mark, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK) }); err != nil {
		t.Fatal(err)
	}
	if mark != 0x20 {
		t.Errorf("mark = %#x", mark)
	}
}

func TestReopen(t *testing.T) {
	b, _, at := open(t)
	before := b.generation.Load()
	if _, _, err := b.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
		t.Errorf("second open: %v", err)
	}
	_, _ = b.Close(), b.Close()
	if _, port, err := b.Open(at.Port()); err != nil || port != at.Port() {
		t.Fatalf("reopened on %d: %v", port, err)
	}
	if b.generation.Load() == before {
		t.Error("sources are not checked after a time closed")
	}
}
