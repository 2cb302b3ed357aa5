package bind

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// A socket that another program destroys is opened again, with its port and mark, and
// receives and sends on.
func TestDestroyedSocket(t *testing.T) {
	for name, port := range map[string]uint16{"of a free port": 0, "of a given port": 4711} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			command(t, "ip", "link", "set", "lo", "up")
			var log bytes.Buffer
			b, from := New(hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn})), New(nil)
			fns, port, err := b.Open(port)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := b.SetMark(0x20); err != nil {
				t.Fatal(err)
			}
			backwards, back := open(t, from)
			for i, to := range []conn.Endpoint{parse(t, from, local4(port)), parse(t, from, local6(port))} {
				old := []*socket{b.v4.Load(), b.v6.Load()}[i]
				command(t, "ss", "-K", fmt.Sprint("-", 4+2*i), "-u", "-a", "sport", "=", fmt.Sprint(port))
				done, sent := make(chan struct{}), make(chan error)
				go func() {
					var err error
					for ended := false; err == nil && !ended; runtime.Gosched() {
						// What arrives before the socket is open is lost.
						if err = from.Send([][]byte{[]byte("ping")}, to); errors.Is(err, unix.ECONNREFUSED) {
							err = nil
						}
						select {
						case <-done:
							ended = true
						default:
						}
					}
					sent <- err
				}()
				newBatch().receive(t, fns[i], func([]byte, conn.Endpoint) {}) // on this thread, which is in the namespace
				close(done)
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				if err := b.Send([][]byte{[]byte("pong")}, parse(t, b, []func(uint16) netip.AddrPort{local4, local6}[i](back))); err != nil {
					t.Fatal(err)
				}
				newBatch().receive(t, backwards[i], func(d []byte, ep conn.Endpoint) {
					if string(d) != "pong" || !strings.HasSuffix(ep.DstToString(), fmt.Sprint(":", port)) {
						t.Errorf("%q from %s", d, ep.DstToString())
					}
				})
				now := []*socket{b.v4.Load(), b.v6.Load()}[i]
				if mark, err := option(now, unix.SOL_SOCKET, unix.SO_MARK); now == old || err != nil || mark != 0x20 {
					t.Errorf("the same socket: %t; mark %#x, %v", now == old, mark, err)
				}
			}
			if n := strings.Count(log.String(), "was opened again"); n != 2 {
				t.Errorf("%d messages:\n%s", n, log.String())
			}
		})
	}
}

// A socket that can't be opened again is tried again, until the Bind is closed.
func TestReopenFails(t *testing.T) {
	b := New(nil)
	b.kernel.receive = func(uintptr, []mmsghdr) (int, syscall.Errno) { return 0, unix.ENOTSOCK }
	fns, _ := open(t, b)
	tried := make(chan bool, 1)
	b.kernel.listen = func(string, uint16) (*socket, error) {
		select {
		case tried <- true:
		default:
		}
		return nil, unix.EADDRINUSE
	}
	done := make(chan error)
	go func() {
		in := newBatch()
		_, err := fns[0](in.bufs, in.sizes, in.eps)
		done <- err
	}()
	<-tried
	if err := b.SetMark(0x20); err != nil {
		t.Errorf("a mark meanwhile: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// A subscription to routes that fails is replaced, and counts as a change; so does one that
// has lost events.
func TestRouteEventsLost(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, r *routes){
		"closed": func(_ *testing.T, r *routes) { r.changes.Close() },
		"overrun": func(t *testing.T, r *routes) {
			onSubscription(t, r, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
			for i := range 40 {
				command(t, "ip", "link", "set", "lost0", "mtu", fmt.Sprint(1300+i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			enter(t)
			link(t, "lost0", "10.0.9.1/24")
			var generation atomic.Uint32
			r, err := watchRoutes(&generation)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			before := inode(t, r)
			was := generation.Load()
			lose(t, r)
			for generation.Load() == was {
				runtime.Gosched()
			}
			if now := inode(t, r); (now != before) != (name == "closed") {
				t.Errorf("another socket: %t", now != before)
			}
		})
	}
}

// onSubscription calls f with the socket that is subscribed to changes of routes.
func onSubscription(t *testing.T, r *routes, f func(fd int) error) {
	t.Helper()
	raw, err := r.changes.SyscallConn()
	if err == nil {
		failed := raw.Control(func(fd uintptr) { err = f(int(fd)) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// inode tells the sockets of a subscription apart.
func inode(t *testing.T, r *routes) uint64 {
	t.Helper()
	var st unix.Stat_t
	onSubscription(t, r, func(fd int) error { return unix.Fstat(fd, &st) })
	return st.Ino
}

// command runs a command that must succeed, in the test's namespace.
func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}
