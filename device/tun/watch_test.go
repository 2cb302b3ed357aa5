package tun

import (
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	rtnetlink "github.com/wirespan/wirespan/firewall/netlink"
)

// expect waits until all events in want have come, together or one by one.
func expect(t *testing.T, n *TUN, want tun.Event) {
	t.Helper()
	for got := tun.Event(0); got != want; {
		select {
		case e, ok := <-n.Events():
			if !ok || e&^want != 0 {
				t.Fatalf("event %v, want %v", e, want)
			}
			got |= e
		case <-time.After(10 * time.Second): // instead of hanging
			t.Fatalf("no event %v", want&^got)
		}
	}
}

// disturb changes a link as other programs would, and expects the events.
func disturb(t *testing.T, n *TUN, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		change func() error
		want   tun.Event
	}{
		{func() error { return netlink.LinkSetUp(link) }, tun.EventUp},
		{func() error { return netlink.LinkSetMTU(link, 1300) }, tun.EventMTUUpdate},
		{func() error { return netlink.LinkSetDown(link) }, tun.EventDown},
		{func() error { return n.Configure(1280, nil) }, tun.EventMTUUpdate | tun.EventUp},
		{func() error { return netlink.LinkSetDown(link) }, tun.EventDown},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		expect(t, n, step.want)
	}
	if mtu, _ := n.MTU(); mtu != 1280 {
		t.Errorf("MTU %d", mtu)
	}
}

// A watcher whose socket fails or loses events goes on, with another socket if it has to.
func TestWatchLosesEvents(t *testing.T) {
	for name, lose := range map[string]func(changes *rtnetlink.Subscription) error{
		"closed": func(changes *rtnetlink.Subscription) error {
			changes.Close()
			return nil
		},
		"overrun": func(changes *rtnetlink.Subscription) error {
			raw, err := changes.SyscallConn()
			if err == nil {
				failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
				err = errors.Join(err, failed)
			}
			link, linkErr := netlink.LinkByName("wslost")
			for i := 0; err == nil && linkErr == nil && i < 40; i++ {
				linkErr = netlink.LinkSetAlias(link, strconv.Itoa(i))
			}
			return errors.Join(err, linkErr)
		},
	} {
		t.Run(name, func(t *testing.T) {
			enterNetns(t)
			n, err := Attach("wslost", 1420)
			if err != nil {
				t.Fatal(err)
			}
			socket := func() *rtnetlink.Subscription {
				n.watcher.mu.Lock()
				defer n.watcher.mu.Unlock()
				return n.watcher.changes
			}
			before := socket()
			if err := lose(before); err != nil {
				t.Fatal(err)
			}
			disturb(t, n, "wslost")
			if now := socket(); (now != before) != (name == "closed") {
				t.Errorf("another socket: %t", now != before)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAttach(t *testing.T) {
	enterNetns(t)
	n, err := Attach("wsnew", 1420)
	if err != nil {
		t.Fatal(err)
	}
	disturb(t, n, "wsnew")
	if _, err := Attach("wsnew", 1420); !errors.Is(err, unix.EBUSY) {
		t.Errorf("attached to a link in use: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, ok := <-n.Events(); ok {
		t.Error("events after Close")
	}

	kept := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "wskept"}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(kept); err != nil {
		t.Fatal(err)
	}
	for _, f := range kept.Fds {
		_ = f.Close()
	}
	if n, err = Attach("wskept", 1400); err != nil {
		t.Fatal(err)
	}
	if !n.writer.mode.virtio {
		t.Error("a link that was there has no offloads")
	}
	disturb(t, n, "wskept")
	_ = n.Close()
	if _, err := netlink.LinkByName("wskept"); err != nil {
		t.Errorf("Close removed a persistent link: %v", err)
	}
}

// A link that is up already causes an event. Read ends when the link is deleted.
func TestFromFile(t *testing.T) {
	for name, tc := range map[string]struct {
		flags    uint16
		blocking bool
	}{
		"with virtio header": {unix.IFF_VNET_HDR, false},
		"plain":              {0, false},
		"blocking":           {0, true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			fd := k.link("wsout", tc.flags, outRoutes...)
			if err := unix.SetNonblock(fd, !tc.blocking); err != nil {
				t.Fatal(err)
			}
			in := open(t, "wsin")
			k.up("wsin", inRoutes...)
			n, err := FromFile(os.NewFile(uintptr(fd), "passed"), 1400)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			if got, _ := n.Name(); got != "wsout" || n.BatchSize() != 128 {
				t.Errorf("name %s, batch of %d", got, n.BatchSize())
			}
			expect(t, n, tun.EventUp)
			s := segment{flow: 1, payload: numbered(10000)}
			if _, err := in.Write(framed(append(s.cut(1000), end.whole())...), front); err != nil {
				t.Fatal(err)
			}
			want := s.cut(1000)
			for i := range want {
				want[i] = forwarded(want[i])
			}
			same(t, name, until(t, n), want)
			link, err := netlink.LinkByName("wsout")
			if err == nil {
				err = netlink.LinkDel(link)
			}
			if err != nil {
				t.Fatal(err)
			}
			bufs, sizes := buffers(128, 2048)
			for err == nil {
				_, err = n.Read(bufs, sizes, front)
			}
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("read from a deleted link: %v", err)
			}
		})
	}
}

func TestFromFileRefuses(t *testing.T) {
	enterNetns(t)
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ifr, _ := unix.NewIfreq("wstap")
	ifr.SetUint16(unix.IFF_TAP)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		t.Fatal(err)
	}
	tap := os.NewFile(uintptr(fd), "tap")
	if _, err := FromFile(tap, 1420); err == nil {
		t.Error("took over a TAP interface")
	}
	if err := tap.Close(); err != nil {
		t.Errorf("a refused file is no longer the caller's: %v", err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := FromFile(null, 1420); err == nil {
		t.Error("took over " + os.DevNull)
	}
}

// The watcher follows a link to another network namespace.
func TestFollowsToAnotherNamespace(t *testing.T) {
	enterNetns(t)
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	n, err := Attach("wsmove", 1420)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	link, err := netlink.LinkByName("wsmove")
	if err != nil {
		t.Fatal(err)
	}
	there, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(here); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsFd(link, int(there)); err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(there); err != nil {
		t.Fatal(err)
	}
	link, err = netlink.LinkByName("wsmove")
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	expect(t, n, tun.EventUp)
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	expect(t, n, tun.EventDown)
	disturb(t, n, "wsmove")
}
