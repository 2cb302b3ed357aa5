package nft

import (
	"slices"
	"testing"

	"github.com/wirespan/wirespan/firewall"
)

// A process that has lost its memory reads from the kernel what an earlier one routed.
func TestRouted(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	want := func(table, tunnel string, networks ...string) {
		t.Helper()
		got, err := open(t).Routed(table, tunnel)
		if err != nil || !slices.Equal(got, prefixes(networks...)) {
			t.Errorf("%s, %s: routed %v, %v, want %v", table, tunnel, got, err, networks)
		}
	}
	want(numbers.Table, iface)
	rs := firewall.Compile(policy("10.1.0.0/16", "10.2.0.0/15", "192.168.7.9/32", "255.255.255.0/24", "fd01::/48", "ff00::/8"))
	apply(t, f, rs)
	want(numbers.Table, iface, "10.1.0.0/16", "10.2.0.0/15", "192.168.7.9/32", "255.255.255.0/24", "fd01::/48", "ff00::/8")
	want(numbers.Table, "other0")
	want("other", iface)
	apply(t, f, firewall.Compile(policy("10.1.0.0/16")))
	want(numbers.Table, iface, "10.1.0.0/16")
	if err := f.Remove(rs); err != nil {
		t.Fatal(err)
	}
	want(numbers.Table, iface)
	run(t, "nft", "add table inet "+numbers.Table) // another program's
	want(numbers.Table, iface)
}
