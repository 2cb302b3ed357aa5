package bind

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestFragmentedHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h fragmentedHosts
		one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
		if h.has(one, 0) || len(h.list(0)) != 0 {
			t.Error("a new set is not empty")
		}
		if !h.add(two, 0) || !h.add(one, 0) || h.add(one, 0) {
			t.Error("add does not report which hosts are new")
		}
		if got := h.list(0); !slices.Equal(got, []netip.Addr{one, two}) {
			t.Errorf("list %v", got)
		}
		time.Sleep(fragmentedTime)
		if !h.has(one, 0) {
			t.Error("forgot too early")
		}
		time.Sleep(time.Nanosecond)
		if h.has(one, 0) || h.has(two, 0) {
			t.Error("never forgets")
		}
		h.add(one, 0)
		if h.has(one, 1) || h.has(one, 0) {
			t.Error("still remembers after a change of routes")
		}
		for i := range maxFragmented + 10 {
			h.add(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		}
		if got := len(h.list(1)); got != maxFragmented {
			t.Errorf("%d hosts are remembered", got)
		}
	})
}
