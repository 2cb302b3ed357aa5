package nft

import (
	"slices"
	"testing"
)

// The policy of iptables-legacy is read, and whether a rule lets the tunnel's packets pass.
func TestLegacyDrops(t *testing.T) {
	namespace(t)
	f := open(t)
	expect := func(want ...Legacy) {
		t.Helper()
		if got, err := f.LegacyDrops(iface); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	expect()
	run(t, "iptables-legacy", "-A", "FORWARD", "-i", "docker0", "-p", "tcp", "-m", "tcp", "--dport", "80", "-j", "ACCEPT")
	run(t, "ip6tables-legacy", "-A", "FORWARD", "-i", "docker0", "-m", "comment", "--comment", "web", "-j", "REJECT")
	expect()
	run(t, "iptables-legacy", "-P", "FORWARD", "DROP")
	run(t, "ip6tables-legacy", "-P", "INPUT", "DROP")
	expect(Legacy{false, "iptables-legacy", true, true})
	run(t, "ip6tables-legacy", "-P", "FORWARD", "DROP")
	expect(Legacy{false, "iptables-legacy", true, true}, Legacy{true, "ip6tables-legacy", true, true})
	run(t, "iptables-legacy", "-I", "FORWARD", "-i", iface, "-j", "DROP")
	run(t, "iptables-legacy", "-I", "FORWARD", "-o", iface, "-j", "ACCEPT")
	run(t, "ip6tables-legacy", "-N", "DOCKER-USER")
	run(t, "ip6tables-legacy", "-A", "DOCKER-USER", "-i", iface, "-j", "ACCEPT")
	expect(Legacy{false, "iptables-legacy", true, false}, Legacy{true, "ip6tables-legacy", false, true})
	run(t, "iptables-legacy", "-I", "FORWARD", "-i", iface, "-j", "ACCEPT")
	run(t, "ip6tables-legacy", "-A", "DOCKER-USER", "-o", iface, "-j", "ACCEPT")
	expect()
}

// Whatever the kernel has for a table, reading it ends.
func FuzzLegacyEntries(f *testing.F) {
	f.Add(make([]byte, 400), 0)
	f.Fuzz(func(t *testing.T, entries []byte, policy int) {
		for i := range legacyLayouts {
			legacyLayouts[i].closed(entries, max(policy, 0), iface)
		}
	})
}
