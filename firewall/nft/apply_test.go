package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

func TestApplyAndRemove(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	run(t, "nft", "add table inet others")
	run(t, "ip", "route", "add", "unreachable", "192.0.2.0/24", "proto", "static")
	before := kernel(t)
	f := open(t)
	rs := firewall.Compile(policy("10.1.0.0/16", "10.2.0.0/16", "255.255.255.0/24", "fd01::/48", "fd02::/48", "ff00::/8"))
	if err := f.Remove(rs); err != nil {
		t.Fatal("remove what is not there:", err)
	}
	apply(t, f, rs)
	expect(t, rs)
	if w := f.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	unchanged(t, func() { apply(t, f, rs) })
	for range 2 {
		if err := open(t).Remove(rs); err != nil { // like a process without Config.Previous
			t.Fatal(err)
		}
	}
	if now := kernel(t); now != before {
		t.Errorf("left over:\n%s\nbefore:\n%s", now, before)
	}
	apply(t, f, rs)
	expect(t, rs)
}

// unchanged fails if do changes anything at all in the kernel.
func unchanged(t *testing.T, do func()) {
	t.Helper()
	l, err := netlink.Subscribe(unix.NETLINK_ROUTE, 0,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, netlink.GroupIPv6Rule)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g, before := generation(t), kernel(t)
	do()
	if now := generation(t); now != g {
		t.Errorf("the generation was %s and is %s", g, now)
	}
	if now := kernel(t); now != before {
		t.Errorf("was:\n%s\nis:\n%s", before, now)
	}
	for _, m := range heard(t, l) {
		if !byKernel(m) {
			t.Errorf("routing was changed: %+v", m)
		}
	}
}

// expect compares the kernel with the canonical text.
func expect(t *testing.T, rs firewall.Ruleset) {
	t.Helper()
	got := counts.ReplaceAllString(run(t, "nft", "list", "table", "inet", rs.Table), "counter")
	got = strings.Replace(got, "\tcomment \"wirespan "+iface+"\"\n", "", 1)
	want, _, _ := strings.Cut(rs.String(), "# ")
	if got != want {
		t.Errorf("the table is\n%s\nand should be\n%s", got, want)
	}
	for _, r := range rs.Rules {
		family := "-4"
		if r.IPv6 {
			family = "-6"
		}
		line := fmt.Sprintf("%d:\tfrom all fwmark %#x/%#x lookup %d", r.Priority, r.Mark, r.Mask, r.Table)
		line = strings.Replace(line, " 0x0/", " 0/", 1) // as ip prints it
		if n := strings.Count(run(t, "ip", family, "rule"), line); n != 1 {
			t.Errorf("%d times rule %q", n, line)
		}
	}
	for _, r := range rs.Routes {
		if n := countRoute(t, r); n != 1 {
			t.Errorf("%d times: %s", n, r)
		}
	}
}

func countRoute(t *testing.T, r firewall.Route) int {
	family, words := "-4", ""
	if r.Destination.Addr().Is6() {
		family = "-6"
	}
	if r.Interface == "" {
		words = "unreachable "
	}
	if r.Destination.Bits() == 0 {
		words += "default "
	} else {
		words += r.Destination.String() + " "
	}
	if r.Interface != "" {
		words += "dev " + r.Interface + " "
	}
	metric := fmt.Sprint(" metric ", r.Metric, " ")
	n := 0
	for line := range strings.Lines(run(t, "ip", family, "route", "show", "table", fmt.Sprint(r.Table))) {
		if strings.HasPrefix(line, words) && strings.Contains(line, metric) && (r.MTU == 0 || strings.Contains(line, fmt.Sprint(" mtu ", r.MTU, " "))) {
			n++
		}
	}
	return n
}

func TestElements(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	handle := ""
	for i, networks := range [][]string{
		{},
		{"10.0.0.0/24"},
		{"10.0.0.0/25"},
		{"10.0.0.0/24", "10.0.1.0/24"},
		{"10.0.0.0/23"},
		{"0.0.0.0/0"},
		{"0.0.0.0/1", "128.0.0.0/1"},
		{"0.0.0.0/2", "128.0.0.0/1", "::/1", "8000::/1"},
		{"255.255.255.255/32", "::/0"},
		{"10.0.0.0/24", "10.0.2.0/24", "fd00::/64", "ffff::/16"},
		{"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "fd00::/64", "fd00:0:0:1::/64", "ffff:ffff::/32"},
		{},
	} {
		rs := firewall.Compile(policy(networks...))
		apply(t, f, rs)
		expect(t, rs)
		unchanged(t, func() { apply(t, f, rs) })
		got, err := f.table.read(rs.Table)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && got.fingerprint[0] != handle {
			t.Error("the table was replaced")
		}
		handle = got.fingerprint[0]
	}
}

func TestManyElements(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	p := policy()
	p.Routed = many(10000)
	rs := firewall.Compile(p)
	apply(t, f, rs)
	apply(t, open(t), rs) // replaces it
	p.Routed = append(many(10000)[1:], netip.MustParsePrefix("ff00::/8"))
	p.NoDefault6 = true // 5,000 routes
	rs = firewall.Compile(p)
	apply(t, f, rs)
	unchanged(t, func() { apply(t, f, rs) })
	run(t, "nft", "flush", "set", "inet", "wirespan", "routed6")
	apply(t, f, rs)
	for _, s := range rs.Sets[:2] {
		got, err := f.table.nl.SetIntervals(rs.Table, s.Name)
		if remove, add := diffIntervals(got, netlink.Intervals(s.Elements)); err != nil || len(remove)+len(add) > 0 {
			t.Errorf("set %s: %d too many, %d missing, %v", s.Name, len(remove), len(add), err)
		}
	}
	if err := f.Remove(rs); err != nil {
		t.Fatal(err)
	}
}

func TestNumbersChange(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	before := kernel(t)
	f := open(t)
	p := policy("10.1.0.0/16", "fd01::/48")
	first := firewall.Compile(p)
	apply(t, f, first)
	p.Numbers = firewall.Numbers{Table: "other", EncryptedMark: 0x100, TunnelMark: 0x200, Mask: 0x300, RoutingTable: 1234, RulePriority: 100}
	p.Subnet = netip.MustParsePrefix("fd99::/64")
	second := firewall.Compile(p)
	apply(t, f, second)
	expect(t, second)
	if now := kernel(t); strings.Contains(now, "wirespan {") || strings.Contains(now, "180") || strings.Contains(now, "fd12:") {
		t.Errorf("the earlier ruleset is still there:\n%s", now)
	}
	p.Numbers = numbers
	again, err := Open(Config{Previous: second}) // as after a restart
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	third := firewall.Compile(p)
	apply(t, again, third)
	expect(t, third)
	if err := again.Remove(third); err != nil {
		t.Fatal(err)
	}
	if now := kernel(t); now != before {
		t.Errorf("left over:\n%s\nbefore:\n%s", now, before)
	}
}

func TestInterfaceComesAndGoes(t *testing.T) {
	namespace(t)
	f := open(t)
	rs := firewall.Compile(policy("10.1.0.0/16", "fd01::/48"))
	apply(t, f, rs)
	for range 2 {
		for _, r := range rs.Routes {
			if n := countRoute(t, r); (n == 1) != (r.Interface == "") {
				t.Errorf("%d times without an interface: %s", n, r)
			}
		}
		tunnel(t, iface)
		apply(t, f, rs)
		expect(t, rs)
		run(t, "ip", "link", "del", iface)
		apply(t, f, rs)
	}
}

func TestLoopbackDown(t *testing.T) {
	namespace(t)
	run(t, "ip", "link", "set", "lo", "down")
	tunnel(t, iface)
	f := open(t)
	rs := firewall.Compile(policy("10.1.0.0/16", "fd01::/48"))
	apply(t, f, rs)
	expect(t, rs)
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "link", "set", "lo", "down")
	apply(t, f, rs)
	expect(t, rs)
}

func TestIPv6Disabled(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	run(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	f := open(t)
	rs := firewall.Compile(policy("10.1.0.0/16", "fd01::/48"))
	apply(t, f, rs)
	if w := f.Warnings(); len(w) != 1 || !strings.Contains(w[0], "disable_ipv6") {
		t.Errorf("warnings: %q", w)
	}
	run(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
	apply(t, f, rs)
	expect(t, rs)
}
