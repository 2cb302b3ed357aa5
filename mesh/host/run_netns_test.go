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

	"github.com/wirespan/wirespan/firewall/netlink"
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
	script(t, "link add br0 type bridge", "addr add 169.254.1.1/32 scope link dev up0")
	h := New(Config{})
	h.pace = time.Millisecond
	beside(t, h.Run)
	waitChange(t, h, "the start")
	for _, change := range []string{
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
		"addr del 169.254.1.1/32 dev up0", // the tunnel has one like that
		"link set up0 mtu 1300",
		"link set up0 master br0",
		"link del up0",
		"link add early type veth peer name late", // there is no default route now
	} {
		if _, err := h.Links(); err != nil {
			t.Fatal(err)
		}
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

// Containers that come and go signal nothing: their links have no addresses here.
func TestIrrelevantChanges(t *testing.T) {
	namespace(t)
	script(t, "route add default via 192.0.0.254", "link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up",
		"link add first type veth peer name inside", "link set first master docker0 up", "link set inside up",
		"link add lone type veth peer name lonely", "addr add 169.254.8.8/16 scope link dev lone", "link set lone up")
	h := New(Config{})
	for up := 0; up < 2; { // the bridge and its port become that asynchronously
		links, err := h.Links()
		if err != nil {
			t.Fatal(err)
		}
		up = 0
		for _, l := range links {
			if l.Up && (l.Name == "docker0" || l.Name == "first") {
				up++
			}
		}
	}
	sub, err := netlink.Subscribe(unix.NETLINK_ROUTE, 0, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	script(t, `link add v0 type veth peer name c0
		link set v0 master docker0 up
		link set c0 up
		addr add 169.254.7.7/16 scope link dev c0
		link set v0 mtu 1400
		link set up1 alias other
		link set lone down
		link del v0`)
	script(t, "addr add 10.1.2.3/32 dev lo") // the end
	ctx, cancel := context.WithCancel(t.Context())
	events := 0
	sub.Listen(ctx, func(m netlink.Message) bool {
		relevant := h.watched.relevant(m)
		switch events++; {
		case m.Type == unix.RTM_NEWADDR && relevant:
			cancel()
		case relevant:
			t.Errorf("event %d of %x counts", events, m)
		}
		return false
	}, func() {})
	if events < 8 {
		t.Errorf("%d events", events)
	}
}

// quiet takes the signal of what is over.
func quiet(h *Host) {
	select {
	case <-h.Changed():
	default:
	}
}
