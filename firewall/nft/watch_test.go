package nft

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

func TestChanged(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	rs := firewall.Compile(policy("10.1.0.0/16", "fd01::/48"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	apply(t, f, rs)
	for _, harm := range []string{
		"nft flush ruleset",
		"nft add rule inet wirespan guard accept",
		"nft delete element inet wirespan routed4 { 10.1.0.0/16 }",
		"ip rule del priority 32500",
		"ip -6 rule del priority 32500",
		"ip rule add priority 32500 fwmark 1 lookup 7",
		"ip route flush table 180",
		"ip -6 route flush table 180",
		"ip -6 route del unreachable fd12:3456:789a:bc02::/64",
		"ip -6 route add fd12:3456:789a:bc02::/64 dev " + iface, // the route of the tunnel's address is like that
		"ip link set " + iface + " down",
		"ip link set " + iface + " up",
		"ip link set " + iface + " name wsother",
		"ip link del " + iface,
	} {
		run(t, strings.Fields(harm)...)
		select {
		case <-f.Changed():
		case <-time.After(10 * time.Second):
			t.Error("no notification after", harm)
		}
		switch {
		case strings.Contains(harm, "lookup 7"):
			run(t, "ip", "rule", "del", "priority", "32500", "fwmark", "1")
		case strings.Contains(harm, "name"):
			run(t, "ip", "link", "set", "wsother", "name", iface)
		}
		apply(t, f, rs)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Changes by this process, and changes of others elsewhere, are not notified.
func TestOwnChangesAreSilent(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	p := policy()
	apply(t, f, firewall.Compile(p))
	for _, l := range f.watcher.listeners {
		heard(t, l.Subscription)
	}
	p.Routed = many(2000)
	p.NoDefault4 = true
	rs := firewall.Compile(p)
	apply(t, f, rs)
	p.RulePriority, p.Table = 100, "other"
	apply(t, f, firewall.Compile(p))
	if err := f.Remove(rs); err != nil {
		t.Fatal(err)
	}
	for _, l := range f.watcher.listeners {
		for _, m := range heard(t, l.Subscription) {
			if !byKernel(m) {
				t.Errorf("received an event of its own: %+v", m)
			}
		}
	}
	apply(t, f, rs)
	run(t, "nft", "add table inet others")
	run(t, "nft", "add set inet others wirespan { type ipv4_addr; }")
	run(t, "nft", "add table ip wirespan")
	run(t, "ip", "rule", "add", "priority", "7", "lookup", "7")
	run(t, "ip", "route", "add", "192.0.2.0/24", "dev", iface)
	run(t, "ip", "route", "add", "unreachable", "192.0.2.0/24", "metric", "7")
	run(t, "ip", "link", "add", "wsother0", "type", "veth", "peer", "wsother1")
	for _, l := range f.watcher.listeners {
		for _, m := range heard(t, l.Subscription) {
			if r, ok := netlink.ParseRoute(m); ok && r.Destination == netip.MustParsePrefix("192.0.2.0/24") {
				t.Errorf("the kernel delivered an event about the %s", r)
			}
			if l.concerns(f.watcher.targets.Load(), m) {
				t.Errorf("an unrelated change is relevant: %+v", m)
			}
		}
	}
}

// Settings of interfaces that others change are notified: one by one, and all at once.
func TestSettingsChanged(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	tunnel(t, "lan0")
	run(t, "ip", "route", "add", "10.61.0.0/16", "dev", "lan0")
	run(t, "ip", "route", "add", "fd61::/48", "dev", "lan0")
	run(t, "ip", "route", "add", "default", "dev", "lan0")
	f := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	apply(t, f, firewall.Compile(policy("10.1.0.0/16")))
	var changed []Sysctl
	set := func() {
		t.Helper()
		_, err := f.SetReversePath(iface)
		if err != nil {
			t.Fatal(err)
		}
		if changed, err = f.SetForwarding(ForwardingSpec{iface, prefixes("10.61.0.0/16", "fd61::/48")}, changed); err != nil {
			t.Fatal(err)
		}
	}
	set()
	names := []string{
		"ipv4.conf." + iface + ".rp_filter=1", "ipv4.conf.all.rp_filter=1", "ipv4.conf.all.rp_filter=0",
		"ipv4.conf." + iface + ".forwarding=0", "ipv4.conf.lan0.forwarding=0", "ipv4.ip_forward=0",
	}
	if readSysctl("ipv6/conf/lan0/force_forwarding") != "" {
		names = append(names, "ipv6.conf.lan0.force_forwarding=0")
	} else {
		names = append(names, "ipv6.conf.all.forwarding=0")
	}
	for _, harm := range names {
		if harm == "ipv4.ip_forward=0" {
			run(t, "sysctl", "-w", "net.ipv4.ip_forward=1")
		}
		silence(f)
		run(t, "sysctl", "-w", "net."+harm)
		select {
		case <-f.Changed():
		case <-time.After(10 * time.Second):
			t.Error("no notification after", harm)
		}
		set()
		name, _, _ := strings.Cut(harm, "=")
		if got, name := "", strings.ReplaceAll(name, ".", "/"); strings.Contains(harm, "lan0") {
			if got = readSysctl(name); got != "1" {
				t.Errorf("%s is %s after the repair", name, got)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// silence takes a notification that is due.
func silence(f *Firewall) {
	select {
	case <-f.Changed():
	default:
	}
}

// A subscription that has lost events, or its socket, notifies and goes on.
func TestLostEvents(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, fd int){
		"overrun": func(t *testing.T, fd int) {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
				t.Fatal(err)
			}
			for range 20 { // events of all listeners
				run(t, "ip", "link", "set", iface, "mtu", "1400")
				run(t, "ip", "link", "set", iface, "mtu", "1401")
				run(t, "nft", "add table inet others; delete table inet others")
				run(t, "sysctl", "-w", "net.ipv4.conf."+iface+".rp_filter=0", "net.ipv4.conf."+iface+".rp_filter=1")
			}
		},
		"closed": func(t *testing.T, fd int) {
			null, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(null)
			if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for i := range 3 {
			t.Run(fmt.Sprint(name, " ", i), func(t *testing.T) {
				namespace(t)
				tunnel(t, iface)
				f := open(t)
				apply(t, f, firewall.Compile(policy("10.1.0.0/16")))
				f.watcher.watch(nil) // nothing is relevant but a loss
				raw, err := f.watcher.listeners[i].SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				if err := raw.Control(func(fd uintptr) { lose(t, int(fd)) }); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error)
				go func() { done <- f.Run(ctx) }()
				select {
				case <-f.Changed():
				case <-time.After(10 * time.Second):
					t.Error("no notification")
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		}
	}
}
