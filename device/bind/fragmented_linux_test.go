package bind

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a addresses
		one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
		if a.has(one, 0) || len(a.list(0)) != 0 {
			t.Error("remembers something from the start")
		}
		if !a.add(two, 0) || !a.add(one, 0) || a.add(one, 0) {
			t.Error("what is news is not told")
		}
		if got := a.list(0); !slices.Equal(got, []netip.Addr{one, two}) {
			t.Errorf("list %v", got)
		}
		time.Sleep(fragmentTime)
		if !a.has(one, 0) {
			t.Error("forgot too early")
		}
		time.Sleep(1)
		if a.has(one, 0) || a.has(two, 0) {
			t.Error("never forgets")
		}
		a.add(one, 0)
		if a.has(one, 1) || a.has(one, 0) {
			t.Error("remembers after routes changed")
		}
		for i := range maxFragmented + 10 {
			a.add(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		}
		if got := len(a.list(1)); got != maxFragmented {
			t.Errorf("%d addresses are remembered", got)
		}
	})
}
