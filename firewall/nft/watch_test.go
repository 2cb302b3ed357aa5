package nft

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/firewall"
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
		heard(t, l.file)
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
		for _, m := range heard(t, l.file) {
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
		for _, m := range heard(t, l.file) {
			if l.concerns(f.watcher.targets.Load(), m) {
				t.Errorf("an unrelated change is relevant: %+v", m)
			}
		}
	}
}
