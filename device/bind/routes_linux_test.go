package bind

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A source is no longer used when the default route moves to another link.
func TestRouteChange(t *testing.T) {
	enter(t)
	b := New(nil)
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, family := range []struct{ name, one, two, dst, all string }{
		{"v4", "10.0.1.1/24", "10.0.2.1/24", "192.0.2.1", "0.0.0.0/0"},
		{"v6", "fd01::1/64", "fd02::1/64", "2001:db8::1", "::/0"},
	} {
		link1, src := link(t, family.name+"a", family.one)
		link2, _ := link(t, family.name+"b", family.two)
		_, all, _ := net.ParseCIDR(family.all)
		dst := netip.MustParseAddr(family.dst)
		route := &netlink.Route{LinkIndex: link1, Dst: all}
		if err := netlink.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
		e := newEndpoint(netip.AddrPortFrom(dst, 9), 0)
		e.setSource(src, uint32(link1))
		if !b.useSource(e) {
			t.Errorf("%s: the source does not fit before the change", family.name)
		}
		generation := b.generation.Load()
		if err := errors.Join(netlink.RouteDel(route), netlink.RouteAdd(&netlink.Route{LinkIndex: link2, Dst: all})); err != nil {
			t.Fatal(err)
		}
		for b.generation.Load() == generation {
			runtime.Gosched()
		}
		if b.useSource(e) {
			t.Errorf("%s: the source fits after the change", family.name)
		}
	}
}

// link creates a link with an address, and returns its index and the address.
func link(t *testing.T, name, addr string) (int, netip.Addr) {
	t.Helper()
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "peer"}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	other, err := netlink.LinkByName(name + "peer")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.LinkSetUp(pair), netlink.LinkSetUp(other), netlink.AddrAdd(pair, a)); err != nil {
		t.Fatal(err)
	}
	return pair.Index, netip.MustParsePrefix(addr).Addr()
}

// enter puts the test's thread into a new network namespace until it ends.
func enter(t *testing.T) netns.NsHandle {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Set(before); err != nil {
			t.Fatal(err)
		}
		_, _ = ns.Close(), before.Close()
		runtime.UnlockOSThread()
	})
	return ns
}
