package tun

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/mesh"
)

// enterNetns moves the test into a network namespace of its own.
func enterNetns(t testing.TB) {
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
			t.Fatal(err) // the thread stays locked, and ends with the test
		}
		_, _ = ns.Close(), before.Close()
		runtime.UnlockOSThread()
	})
}

func open(t *testing.T, name string) *TUN {
	t.Helper()
	n, err := Open(name, 1420)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// addresses returns the link's addresses, sorted as strings.
func addresses(t *testing.T, link netlink.Link) []string {
	t.Helper()
	list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range list {
		if a.Flags&unix.IFA_F_TENTATIVE != 0 {
			t.Errorf("%v is tentative", a)
		}
		out = append(out, a.IPNet.String())
	}
	slices.Sort(out)
	return out
}

// A link that was renamed gets its name back, whether it is up or down.
func TestConfigureUndoesRenaming(t *testing.T) {
	enterNetns(t)
	n := open(t, "wstest0")
	address := []netip.Prefix{netip.MustParsePrefix("fd00::1/64")}
	if err := n.Configure(1420, address); err != nil {
		t.Fatal(err)
	}
	rename := func(from, to string) {
		t.Helper()
		link, err := netlink.LinkByName(from)
		if err == nil {
			err = netlink.LinkSetName(link, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	restored := func(when string) {
		t.Helper()
		if err := n.Configure(1420, address); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		link, err := netlink.LinkByName("wstest0")
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got := addresses(t, link); link.Attrs().Flags&net.FlagUp == 0 || !slices.Contains(got, "fd00::1/64") {
			t.Errorf("%s: flags %v, addresses %v", when, link.Attrs().Flags, got)
		}
	}
	rename("wstest0", "wsother")
	restored("renamed")
	link, err := netlink.LinkByName("wstest0")
	if err == nil {
		err = netlink.LinkSetDown(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	rename("wstest0", "wsother")
	restored("set down and renamed")

	rename("wstest0", "wsother")
	stranger := open(t, "wstest0")
	if err := n.Configure(1420, address); !errors.Is(err, mesh.ErrNameTaken) {
		t.Errorf("while another link has the name: %v", err)
	}
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}
	restored("after the other link has gone")
}

func TestConfigureUndoesChanges(t *testing.T) {
	enterNetns(t)
	if err := Available(); err != nil {
		t.Fatal(err)
	}
	n := open(t, "wstest0")
	link, err := netlink.LinkByName("wstest0")
	if err != nil {
		t.Fatal(err)
	}
	own, old, dummy := "fd00:0:0:2::1/64", "fd99:0:0:2::1/64", "192.0.0.8/32"
	add := func(s string) func() error {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		return func() error { return netlink.AddrAdd(link, a) }
	}
	del := func(s string) func() error {
		a, _ := netlink.ParseAddr(s)
		return func() error { return netlink.AddrDel(link, a) }
	}
	disable := func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/wstest0/disable_ipv6", []byte("1"), 0) }
	nothing := func() error { return nil }
	for _, tc := range []struct {
		name    string
		disturb func() error
		want    []string
	}{
		{"fresh", nothing, []string{dummy, own}},
		{"again", nothing, []string{dummy, own}},
		{"MTU", func() error { return netlink.LinkSetMTU(link, 1300) }, []string{dummy, own}},
		{"down", func() error { return netlink.LinkSetDown(link) }, []string{dummy, own}},
		{"IPv6 disabled", disable, []string{dummy, own}},
		{"address removed", del(own), []string{dummy, own}},
		{"route removed", func() error { return netlink.RouteDel(prefixRoute(link)) }, []string{dummy, own}},
		{"route removed, another one behind it", func() error {
			return errors.Join(netlink.RouteDel(prefixRoute(link)), netlink.RouteAdd(&netlink.Route{Dst: prefixRoute(link).Dst, Type: unix.RTN_UNREACHABLE, Priority: 4096}))
		}, []string{dummy, own}},
		{"IPv4 removed", del(dummy), []string{dummy, own}},
		{"another cluster's address", add(old), []string{dummy, own}},
		{"a foreign address stays", add("192.0.2.1/24"), []string{dummy, "192.0.2.1/24", own}},
		{"prefix length", func() error { return errors.Join(del(own)(), add("fd00:0:0:2::1/72")()) }, []string{dummy, "192.0.2.1/24", own}},
	} {
		if err := tc.disturb(); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if err := n.Configure(1400, []netip.Prefix{netip.MustParsePrefix(own)}); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if link, err = netlink.LinkByName("wstest0"); err != nil {
			t.Fatal(err)
		}
		if got := addresses(t, link); !slices.Equal(got, tc.want) {
			t.Errorf("%s: addresses %v, want %v", tc.name, got, tc.want)
		}
		if got, err := netlink.RouteGet(net.ParseIP("fd00:0:0:2::2")); err != nil || got[0].LinkIndex != link.Attrs().Index {
			t.Errorf("%s: the route to another node is %v, %v", tc.name, got, err)
		}
		if a := link.Attrs(); a.MTU != 1400 || a.Flags&net.FlagUp == 0 {
			t.Errorf("%s: MTU %d, flags %v", tc.name, a.MTU, a.Flags)
		}
	}
	if e := <-n.Events(); e != tun.EventMTUUpdate || len(n.Events()) != 0 {
		t.Errorf("event %v, then %d more", e, len(n.Events()))
	}
}

// prefixRoute is the route that the kernel adds with the address fd00:0:0:2::1/64.
func prefixRoute(link netlink.Link) *netlink.Route {
	_, network, _ := net.ParseCIDR("fd00:0:0:2::/64")
	return &netlink.Route{Dst: network, LinkIndex: link.Attrs().Index}
}

func TestConfigureAnotherCluster(t *testing.T) {
	enterNetns(t)
	n := open(t, "wstest7")
	link, err := netlink.LinkByName("wstest7")
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := netlink.ParseAddr("192.0.2.1/24")
	first, second := "fd00:0:0:2::1/64", "fd99:0:0:2::1/64"
	err = errors.Join(netlink.AddrAdd(link, foreign), n.Configure(1400, []netip.Prefix{netip.MustParsePrefix(first)}))
	if err != nil {
		t.Fatal(err)
	}
	if err = n.Configure(1400, []netip.Prefix{netip.MustParsePrefix(second), netip.MustParsePrefix("10.7.0.1/32")}); err != nil {
		t.Fatal(err)
	}
	if got := addresses(t, link); !slices.Equal(got, []string{"10.7.0.1/32", "192.0.2.1/24", second}) {
		t.Errorf("addresses after a change of cluster: %v", got)
	}
	if src, err := n.Source(netip.MustParseAddr("10.9.9.9")); err != nil || src != netip.MustParseAddr("10.7.0.1") {
		t.Errorf("source %v, %v", src, err)
	}
	_ = n.Configure(1400, nil)
	if src, err := n.Source(netip.MustParseAddr("192.0.2.9")); err != nil || src != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("source by route %v, %v", src, err)
	}
}

func TestOpenRefusesAnExistingLink(t *testing.T) {
	enterNetns(t)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wstest1"}, PeerName: "wspeer1"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	open(t, "wstest2")
	persistent := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "wstest3"}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(persistent); err != nil {
		t.Fatal(err)
	}
	for _, f := range persistent.Fds {
		_ = f.Close()
	}
	for _, name := range []string{"wstest1", "wstest2", "wstest3"} {
		if n, err := Open(name, 1420); err == nil || !strings.Contains(err.Error(), "ip link delete "+name) {
			if err == nil {
				_ = n.Close()
			}
			t.Errorf("Open(%s): %v", name, err)
		}
	}
}

func TestIPv6Disabled(t *testing.T) {
	enterNetns(t)
	// The file is that of the writing thread's namespace.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := Available(); err != nil {
		t.Errorf("Available where IPv6 can be enabled: %v", err)
	}
	n := open(t, "wstest4")
	configure := func() error { return n.Configure(1420, []netip.Prefix{netip.MustParsePrefix("fd00:0:0:2::1/64")}) }
	if err := configure(); err != nil {
		t.Errorf("Configure without IPv6: %v", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/wstest4/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	readOnlySettings(t)
	if err := Available(); err == nil || !strings.Contains(err.Error(), "IPv6 is disabled") {
		t.Errorf("Available without IPv6: %v", err)
	}
	if err := configure(); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "net.ipv6.conf.wstest4.disable_ipv6=0") {
		t.Errorf("Configure without IPv6 and with read-only settings: %v", err)
	}
}

// readOnlySettings makes /proc/sys read-only for the test, as in a container.
func readOnlySettings(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""),
		unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Every injected packet is read, whether Read waits or not.
func TestInjectWhileReading(t *testing.T) {
	enterNetns(t)
	n := open(t, "wstest5")
	if err := n.Configure(1420, nil); err != nil {
		t.Fatal(err)
	}
	type result struct {
		first byte
		err   error
	}
	results := make(chan result)
	go func() {
		bufs, sizes := make([][]byte, n.BatchSize()), make([]int, n.BatchSize())
		for i := range bufs {
			bufs[i] = make([]byte, 1600)
		}
		for {
			count, err := n.Read(bufs, sizes, 16)
			for i := range count {
				results <- result{first: bufs[i][16]}
			}
			if err != nil {
				results <- result{err: err}
				return
			}
		}
	}()
	for i := range 2000 {
		if err := n.Inject([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if i%3 != 2 {
			continue
		}
		for want := i - 2; want <= i; want++ {
			if r := <-results; r.err != nil || r.first != byte(want) {
				t.Fatalf("read %v, %v, want %d", r.first, r.err, want)
			}
		}
	}
	for range 2 { // 2000 = 3·666 + 2
		if r := <-results; r.err != nil {
			t.Fatal(r.err)
		}
	}
	// Read ends when the link is deleted.
	link, err := netlink.LinkByName("wstest5")
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := <-results; !errors.Is(r.err, os.ErrClosed) {
		t.Errorf("read from a deleted link: %v", r.err)
	}
	if err := n.Configure(1420, nil); err == nil {
		t.Error("configured a deleted link")
	}
}

func TestInjectBoundAndClose(t *testing.T) {
	enterNetns(t)
	n := open(t, "wstest6")
	for range maxInjected {
		if err := n.Inject([]byte{0x60}); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Inject([]byte{0x60}); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("inject beyond the bound: %v", err)
	}
	packet := make([]byte, 60)
	packet[16] = 0x60
	if _, err := n.Write([][]byte{packet}, 16); err != nil {
		t.Errorf("write while down: %v", err)
	}
	_ = n.Close()
	_ = n.Close()
	if err := n.Inject([]byte{0x60}); err == nil {
		t.Error("a closed interface took a packet")
	}
	if _, err := netlink.LinkByName("wstest6"); err == nil {
		t.Error("the link outlived Close")
	}
}
