package nft

import (
	"strings"
	"testing"

	"github.com/wirespan/wirespan/firewall"
)

// openAfter opens a Firewall of a process after one that applied a ruleset.
func openAfter(t *testing.T, previous firewall.Ruleset) *Firewall {
	t.Helper()
	f, err := Open(Config{Previous: previous})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// same fails if the kernel has changed.
func same(t *testing.T, what, before string) {
	t.Helper()
	if now := kernel(t); now != before {
		t.Errorf("%s: changed to\n%s\nfrom\n%s", what, now, before)
	}
}

// A second agent with the same names is refused before it changes anything. What
// it does after that leaves alone what the first one installed.
func TestTwoAgents(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	first := firewall.Compile(policy("10.1.0.0/16", "fd01::/48"))
	for _, up := range []bool{true, false} { // the first agent's tunnel
		if !up {
			run(t, "ip", "link", "del", iface)
		}
		a := open(t)
		apply(t, a, first)
		before := kernel(t)
		p := policy("10.7.0.0/16")
		p.Interface = "wsother0"
		second := firewall.Compile(p)
		b := open(t)
		for range 2 {
			err := b.Apply(second)
			if err == nil || !strings.Contains(err.Error(), "belongs to another wirespan agent, for interface "+iface+": choose another name as firewall.table") {
				t.Fatalf("error %v", err)
			}
			same(t, "a refused Apply", before)
		}
		for _, f := range []*Firewall{b, open(t), openAfter(t, second)} {
			if err := f.Remove(second); err != nil {
				t.Error(err)
			}
			same(t, "Remove of what was refused", before)
		}
		unchanged(t, func() { apply(t, a, first) })

		p.Numbers = firewall.Numbers{Table: "other", EncryptedMark: 0x100, TunnelMark: 0x200, Mask: 0x300, RoutingTable: 1234, RulePriority: 100}
		p.Subnet = prefixes("fd99::/64")[0]
		third := firewall.Compile(p)
		for _, f := range []*Firewall{b, openAfter(t, second)} { // with and without a restart
			if _ = f.Apply(second); f.Apply(third) != nil {
				t.Error("there is a conflict with other numbers")
			}
			if s := run(t, "nft", "list", "tables"); s != "table inet wirespan\ntable inet other\n" {
				t.Errorf("tables: %s", s)
			}
			if up {
				expect(t, first)
			}
			if err := f.Remove(third); err != nil {
				t.Error(err)
			}
			same(t, "beside each other", before)
		}
		if err := a.Remove(first); err != nil {
			t.Error(err)
		}
	}
}

// After its interface was renamed, a node finds what it had installed before.
func TestInterfaceRenamed(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	before := kernel(t)
	p := policy("10.1.0.0/16")
	now := firewall.Compile(p)
	p.Interface = "wsold0"
	old := firewall.Compile(p)
	oldInterim := interimOf(&old)
	left := func() {
		apply(t, open(t), old)
		if err := open(t).table.create(&oldInterim); err != nil { // as if it was killed
			t.Fatal(err)
		}
		if s := run(t, "nft", "list", "ruleset"); strings.Count(s, `comment "wirespan wsold0"`) != 2 {
			t.Errorf("comments in\n%s", s)
		}
	}
	left()
	f := openAfter(t, old)
	apply(t, f, now)
	expect(t, now)
	if s := run(t, "nft", "list", "tables"); s != "table inet wirespan\n" {
		t.Errorf("tables: %s", s)
	}
	if err := f.Remove(now); err != nil {
		t.Error(err)
	}
	same(t, "replaced and removed", before)
	left()
	if err := openAfter(t, old).Remove(now); err != nil {
		t.Error(err)
	}
	same(t, "removed", before)

	// One process, with rules that do not name the interface.
	old.Chains = []firewall.Chain{{Name: "plain", Rules: []firewall.Rule{{firewall.Counter{}}}}}
	now.Chains = old.Chains
	apply(t, f, old)
	apply(t, f, now)
	expect(t, now)
	unchanged(t, func() { apply(t, f, now) })
}

// A table of others in place of the interim table is a conflict only if an interim
// table is needed, and is never changed.
func TestForeignInterimTable(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	rs := firewall.Compile(policy("10.1.0.0/16"))
	for _, comment := range []string{"mine", "wirespan wsother0"} {
		feedShell(t, `nft add table inet wirespan_next { comment "`+comment+`"; }`)
		f := open(t)
		apply(t, f, rs)
		expect(t, rs)
		changed := firewall.Compile(policy("10.2.0.0/16"))
		apply(t, f, changed)
		before := kernel(t)
		p := policy("10.1.0.0/16")
		p.Subnet, p.Ingress = prefixes("fd99::/64")[0], firewall.Ingress{}
		for _, f := range []*Firewall{f, open(t)} {
			if err := f.Apply(firewall.Compile(p)); err == nil || !strings.Contains(err.Error(), "wirespan_next") || !strings.Contains(err.Error(), "firewall.table") {
				t.Errorf("error %v", err)
			}
			same(t, "an interim table of others", before)
		}
		if err := f.Remove(changed); err != nil {
			t.Error(err)
		}
		if s := run(t, "nft", "list", "tables"); s != "table inet wirespan_next\n" {
			t.Errorf("tables: %s", s)
		}
		run(t, "nft", "delete", "table", "inet", "wirespan_next")
	}
}

// The table is deleted, and another agent creates one of the same name: Apply
// returns an error, and changes nothing.
func TestTakenTable(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	rs := firewall.Compile(policy("10.1.0.0/16"))
	f := open(t)
	apply(t, f, rs)
	run(t, "nft", "delete", "table", "inet", "wirespan")
	feedShell(t, `nft add table inet wirespan { comment "wirespan wsother0"; }`)
	before := kernel(t)
	run(t, "ip", "rule", "del", "priority", "32500")
	refused := kernel(t)
	for range 2 {
		if err := f.Apply(rs); err == nil || !strings.Contains(err.Error(), "wsother0") {
			t.Errorf("error %v", err)
		}
		same(t, "a taken table", refused)
	}
	run(t, "nft", "delete", "table", "inet", "wirespan")
	apply(t, f, rs)
	expect(t, rs)
	if kernel(t) == before {
		t.Error("the table is not there")
	}
}
