package host

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// beside starts run on a thread that shares this thread's namespaces. It returns a
// function that ends it.
func beside(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var here []*os.File
	for _, name := range []string{"net", "uts"} {
		f, err := os.Open("/proc/thread-self/ns/" + name)
		if err != nil {
			t.Fatal(err)
		}
		here = append(here, f)
	}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		for _, f := range here {
			if err := unix.Setns(int(f.Fd()), 0); err != nil {
				ended <- err
				return
			}
			_ = f.Close()
		}
		ended <- run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func waitChange(t *testing.T, h *Host, what string) {
	t.Helper()
	select {
	case <-h.Changed():
	case <-time.After(10 * time.Second):
		t.Errorf("not signalled: %s", what)
	}
}

// Whatever can change what Links and Underlay return is signalled.
func TestChanges(t *testing.T) {
	namespace(t)
	h := New(Config{})
	beside(t, h.Run)
	waitChange(t, h, "the start")
	for _, change := range []string{
		"link set up1 mtu 1300",
		"link set up1 alias other",
		"link set up1 down",
		"link set up1 name uplink1",
		"link set uplink1 up",
		"addr add 192.0.2.9/24 dev up0",
		"addr change 192.0.2.9/24 dev up0 preferred_lft 0 valid_lft 7200",
		"-6 addr change fd00::1/64 dev up0 preferred_lft 0 valid_lft 7200",
		"route add default via 192.0.0.254",
		"route add default via 192.0.0.253 table 201",
		"rule add priority 32000 lookup 201",
		"-6 rule add priority 32000 lookup 201",
		"-6 route add default dev up0 table 201",
		"route replace default via 192.0.0.253",
		"link del up0",
	} {
		quiet(h)
		script(t, change)
		waitChange(t, h, change)
	}
}

// A Host whose socket loses events, or fails, says so and goes on.
func TestEventsLost(t *testing.T) {
	namespace(t)
	h := New(Config{})
	beside(t, h.Run)
	waitChange(t, h, "the start")
	fd := subscription(t)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		script(t, fmt.Sprint("link set up1 mtu ", 1300+i))
	}
	waitChange(t, h, "an overrun")
	quiet(h)
	script(t, "link set up1 mtu 1299")
	waitChange(t, h, "a change after an overrun")

	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	old, err := unix.Dup(fd) // its events still wake the reader
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	quiet(h)
	script(t, "link set up1 mtu 1298")
	waitChange(t, h, "a socket that fails")
	_ = unix.Close(old)
	quiet(h)
	script(t, "link set up1 mtu 1297")
	waitChange(t, h, "a change after a new subscription")
}

// subscription returns the socket of this process that is subscribed to netlink events.
func subscription(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := -1
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		groups, err := unix.GetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LIST_MEMBERSHIPS)
		if err == nil && groups != 0 {
			if found >= 0 {
				t.Fatal("several subscriptions")
			}
			found = fd
		}
	}
	if found < 0 {
		t.Fatal("no subscription")
	}
	return found
}

// quiet takes the signal of what is over.
func quiet(h *Host) {
	select {
	case <-h.Changed():
	default:
	}
}
