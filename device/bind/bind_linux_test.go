package bind

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

func TestSendReceiveAndSignal(t *testing.T) {
	a, b := New(nil), New(nil)
	open(t, a)
	fns, port := open(t, b)
	handshake := make([]byte, 148)
	handshake[0] = 1
	for i, to := range []netip.AddrPort{local4(port), local6(port)} {
		ep := parse(t, a, to)
		for _, tc := range []struct {
			msg    []byte
			signal int
		}{{make([]byte, 32), 0}, {handshake, 1}, {handshake, 1}} {
			if err := a.Send([][]byte{tc.msg}, ep); err != nil {
				t.Fatal(err)
			}
			newBatch().receive(t, fns[i], func(d []byte, ep conn.Endpoint) {
				if !bytes.Equal(d, tc.msg) {
					t.Errorf("received %d bytes, want %d", len(d), len(tc.msg))
				}
				if ep.DstIP() != to.Addr() || ep.SrcIP() != to.Addr() || ep.(*endpoint).ifindex == 0 {
					t.Errorf("from %s to %s by %d", ep.DstIP(), ep.SrcIP(), ep.(*endpoint).ifindex)
				}
			})
			if len(b.Handshakes()) != tc.signal {
				t.Errorf("%d signals, want %d", len(b.Handshakes()), tc.signal)
			}
		}
		<-b.Handshakes()
	}
	if err := a.Send(nil, &conn.StdNetEndpoint{}); !errors.Is(err, conn.ErrWrongEndpointType) {
		t.Errorf("foreign endpoint: %v", err)
	}
}

// markFails returns a function to set marks that fails with err.
func markFails(err error) func(*socket, uint32) error {
	return func(*socket, uint32) error { return err }
}

func TestSetMark(t *testing.T) {
	var out bytes.Buffer
	b := New(hclog.New(&hclog.LoggerOptions{Output: &out}))
	open(t, b)
	for _, missing := range []error{unix.EPERM, unix.ENOPROTOOPT} {
		b.kernel.mark = markFails(missing)
		if err := b.SetMark(0x20); err != nil || b.mark.Load() != 0 {
			t.Errorf("%v: %v, mark %#x", missing, err, b.mark.Load())
		}
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("logged %d times: %s", n, out.String())
	}
	b.kernel.mark = markFails(unix.EIO)
	if err := b.SetMark(0x20); !errors.Is(err, unix.EIO) {
		t.Errorf("another error: %v", err)
	}
	b.kernel.mark = markFails(nil)
	if err := b.SetMark(0x20); err != nil || b.mark.Load() != 0x20 {
		t.Errorf("with the right: %v, mark %#x", err, b.mark.Load())
	}
}

func TestMarks(t *testing.T) {
	lc := net.ListenConfig{Control: Control(0x20)}
	l, err := lc.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if os.Geteuid() != 0 {
		return // the socket opened, without a mark
	}
	b := New(nil)
	open(t, b)
	if err := b.SetMark(0x20); err != nil {
		t.Fatal(err)
	}
	for _, c := range []syscall.Conn{l.(*net.UDPConn), b.v4.Load().conn, b.v6.Load().conn} {
		raw, err := c.SyscallConn()
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
}

func TestReopen(t *testing.T) {
	b := New(nil)
	if b.v4.Load() != nil || b.v6.Load() != nil {
		t.Error("there are sockets before it is open")
	}
	_, port := open(t, b)
	if b.v4.Load() == nil || b.v6.Load() == nil {
		t.Error("open, and a socket is missing")
	}
	before := b.generation.Load()
	if _, _, err := b.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
		t.Errorf("second open: %v", err)
	}
	_, _ = b.Close(), b.Close()
	if err := b.Send(datagrams(5), newEndpoint(local4(9), 0)); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("closed: %v", err)
	}
	if _, again, err := b.Open(port); err != nil || again != port {
		t.Fatalf("reopened on %d: %v", again, err)
	}
	if b.generation.Load() == before {
		t.Error("sources are not looked up again after Close and Open")
	}
}

// listening returns a function that fails with each of errs in turn, where nil
// means to listen, and listens from then on.
func listening(errs ...error) func(string, uint16) (*socket, error) {
	return func(network string, port uint16) (*socket, error) {
		if len(errs) > 0 {
			err := errs[0]
			errs = errs[1:]
			if err != nil {
				return nil, &net.OpError{Op: "listen", Err: os.NewSyscallError("socket", err)}
			}
		}
		return listen(network, port)
	}
}

func TestListenBoth(t *testing.T) {
	taken, err := listen("udp4", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.close()
	for _, tc := range []struct {
		name   string
		port   uint16
		errs   []error
		want   error
		v4, v6 bool
	}{
		{"both", 0, nil, nil, true, true},
		{"no IPv6", 0, []error{nil, unix.EAFNOSUPPORT}, nil, true, false},
		{"no IPv4", 0, []error{unix.EAFNOSUPPORT}, nil, false, true},
		{"neither", 0, []error{unix.EAFNOSUPPORT, unix.EAFNOSUPPORT}, unix.EAFNOSUPPORT, false, false},
		{"port taken for IPv6", 0, []error{nil, unix.EADDRINUSE, nil, unix.EADDRINUSE}, nil, true, true},
		{"port taken for IPv4", taken.port, nil, unix.EADDRINUSE, false, false},
		{"given port taken for IPv6", taken.port, []error{unix.EAFNOSUPPORT, unix.EADDRINUSE}, unix.EADDRINUSE, false, false},
		{"not allowed", 0, []error{unix.EACCES}, unix.EACCES, false, false},
	} {
		b := New(nil)
		b.kernel.listen = listening(tc.errs...)
		fns, port, err := b.Open(tc.port)
		if !errors.Is(err, tc.want) || (port != 0) != (tc.want == nil) {
			t.Errorf("%s: port %d, %v", tc.name, port, err)
		}
		v4, v6 := b.v4.Load() != nil, b.v6.Load() != nil
		if v4 != tc.v4 || v6 != tc.v6 || len(fns) > 2 {
			t.Errorf("%s: IPv4 %v, IPv6 %v, %d functions", tc.name, v4, v6, len(fns))
		}
		if err := b.Close(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
