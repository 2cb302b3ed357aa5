package nft

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/wirespan/wirespan/firewall"
)

// Forwarding follows the routes to the networks behind this node, which are read again
// only after a change that concerns them.
func TestForwardingFollowsRoutes(t *testing.T) {
	namespace(t)
	for _, name := range []string{iface, "lan0", "lan1"} {
		tunnel(t, name)
	}
	run(t, "ip", "route", "add", "10.61.0.0/16", "dev", "lan0")
	f := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	var changed []Sysctl
	forwards := func(after string, want ...string) {
		t.Helper()
		var err error
		apply(t, f, firewall.Compile(policy("10.1.0.0/16")))
		if changed, err = f.SetForwarding(ForwardingSpec{iface, prefixes("10.61.0.0/16")}, changed); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"lan0", "lan1"} {
			if on := readSysctl("ipv4/conf/"+name+"/forwarding") == "1"; on != slices.Contains(want, name) {
				t.Errorf("after %s: %s forwards: %v", after, name, on)
			}
		}
	}
	notified := func(what string) {
		t.Helper()
		select {
		case <-f.Changed():
		case <-time.After(10 * time.Second):
			t.Error("no notification after", what)
		}
	}
	forwards("the start", "lan0")
	for _, step := range []struct {
		change []string
		want   []string
	}{
		{[]string{"ip", "route", "add", "10.61.7.0/24", "dev", "lan1"}, []string{"lan0", "lan1"}},
		{[]string{"ip", "route", "del", "10.61.7.0/24"}, []string{"lan0"}},
		{[]string{"ip", "route", "change", "10.61.0.0/16", "dev", "lan1"}, []string{"lan1"}},
		{[]string{"ip", "route", "add", "10.0.0.0/12", "dev", "lan0"}, []string{"lan1"}},
	} {
		silence(f)
		run(t, step.change...)
		if !slices.Contains(step.change, "10.0.0.0/12") {
			notified(step.change[2] + step.change[3])
		}
		forwards(step.change[2]+" "+step.change[3], step.want...)
	}
	silence(f)
	run(t, "ip", "link", "set", "lan1", "down") // the route goes, without an event
	notified("the link went down")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Main is read once, not at each look, while nothing concerns the networks.
func TestMainIsReadOnce(t *testing.T) {
	l := lanLinks{}
	l.follow(true)
	networks := prefixes("10.61.0.0/16", "fd61::/48")
	if !l.expect(networks) || l.expect(networks) {
		t.Error("the networks are not known")
	}
	reads := 0
	var failed error
	read := func() ([]uint32, error) { reads++; return []uint32{7}, failed }
	for range 3 {
		for _, n := range networks {
			if got, err := l.lookup(n, read); err != nil || !slices.Equal(got, []uint32{7}) {
				t.Errorf("%v: %v, %v", n, got, err)
			}
		}
	}
	if reads != 2 {
		t.Errorf("%d reads of two networks", reads)
	}
	l.forget()
	disturbed := func() ([]uint32, error) { l.forget(); return read() }
	for range 2 { // what changes during a read is read again
		if _, err := l.lookup(networks[0], disturbed); err != nil {
			t.Error(err)
		}
	}
	failed = errors.New("a test")
	if _, err := l.lookup(networks[1], read); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	if reads != 5 {
		t.Errorf("%d reads, want 5", reads)
	}
}
