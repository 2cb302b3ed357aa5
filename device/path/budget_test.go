package path

import (
	"net/netip"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// spend takes as many as it gets at one instant, to as many hosts.
func spend(b *Budget, hosts int, first bool, now time.Time) (got int) {
	for i := range 100000 {
		if !b.take(netip.AddrFrom4([4]byte{192, 0, byte(i % hosts / 256), byte(i % hosts)}), first, now) {
			return got
		}
		got++
	}
	return got
}

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name  string
		peers int
		hosts int
		first bool
		later time.Duration
		want  int // at once
		again int // after that time
	}{
		{"later attempts", 10, 1000, false, time.Second, nodeRate, nodeRate},
		{"half a second", 10, 1000, false, time.Second / 2, nodeRate, nodeRate / 2},
		{"first attempts", 1, 1000, true, time.Minute, firstPerPeer, firstPerPeer},
		{"half a minute", 10, 1000, true, time.Minute / 2, 10 * firstPerPeer, 5 * firstPerPeer},
		{"no peers", 0, 1000, true, time.Minute, firstPerPeer, firstPerPeer},
		{"many peers", 10, 1000, true, time.Minute, 10 * firstPerPeer, 10 * firstPerPeer},
		{"ever after", 10, 1000, true, time.Hour, 10 * firstPerPeer, 10 * firstPerPeer},
		{"one host", 10, 1, true, 10 * time.Second, hostBurst, 10 * hostRate},
	} {
		b := &Budget{}
		b.SetPeers(c.peers)
		if got := spend(b, c.hosts, c.first, epoch); got != c.want {
			t.Errorf("%s: %d at once, want %d", c.name, got, c.want)
		}
		if got := spend(b, c.hosts, c.first, epoch.Add(c.later)); got != c.again {
			t.Errorf("%s: %d after %v, want %d", c.name, got, c.later, c.again)
		}
		if got := b.Dropped(); got != 2 {
			t.Errorf("%s: %d dropped, want 2", c.name, got)
		}
	}
}

// What is refused for the sake of one host costs the others nothing.
func TestBudgetOfHosts(t *testing.T) {
	b := &Budget{}
	b.SetPeers(100)
	victim, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::1")
	for range 10000 {
		b.take(victim, true, epoch)
	}
	if b.take(netip.MustParseAddr("2001:db8::ffff:1"), true, epoch) {
		t.Error("another address of the same /64 has a budget of its own")
	}
	if !b.take(other, true, epoch) {
		t.Error("another host has no budget left")
	}
	if got := host(netip.MustParseAddr("::ffff:192.0.2.1")); got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("a mapped address counts as %v", got)
	}
}

// The memory for hosts is bounded.
func TestBudgetForgets(t *testing.T) {
	b := &Budget{}
	b.SetPeers(1 << 16)
	for i := range 3 * maxHosts {
		b.take(netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}), true, epoch)
	}
	if len(b.hosts) > maxHosts {
		t.Errorf("%d hosts are remembered, want at most %d", len(b.hosts), maxHosts)
	}
}
