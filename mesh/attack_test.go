package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// A newcomer announces what another node has, in pieces and in other forms, and with
// everything of it at once: address, name, networks. The owner keeps all, also while it is
// not there for a moment.
func TestTakeoverInPieces(t *testing.T) {
	const network = "192.168.50.0/24"
	for name, pieces := range map[string]string{
		"the same":          network,
		"halves":            "192.168.50.0/25 192.168.50.128/25",
		"single addresses":  "192.168.50.1/32 192.168.50.2/32 192.168.50.255/32",
		"mapped":            "::ffff:192.168.50.0/120 ::ffff:192.168.50.1/128",
		"a larger one":      "192.168.0.0/16",
		"larger and pieces": "192.168.0.0/16 192.168.50.0/25 192.168.50.1/32",
		"unmasked":          "192.168.50.1/24 192.168.50.77/25",
		"its mesh address":  "fd00:0:0:2::11/128",
	} {
		t.Run(name, func(t *testing.T) {
			b := signed(withNetworks("n5", "11", network), 1)
			b.Nodename = "b"
			thief := signed(withNetworks("n1", "11", pieces), 1)
			thief.Nodename, thief.Addresses = "b", addrs("192.168.50.1 ::ffff:192.168.50.2 fd00:0:0:2::11")
			tr := newTrial(t)
			tr.decide(0, b)
			for _, there := range [][]Affiliate{{b, thief}, {thief}, {thief, b}} {
				plan := tr.decide(time.Minute, there...)
				for _, to := range []string{"192.168.50.1", "192.168.50.2", "192.168.50.200", "fd00:0:0:2::11"} {
					if got := goes(plan, to); got == "n1" || got == "clear" && to != "fd00:0:0:2::11" {
						t.Errorf("with %d nodes, %s goes to %s", len(there), to, got)
					}
				}
				if owner := ownerOfName(plan, "b"); owner == "n1" {
					t.Errorf("with %d nodes, the name is the newcomer's", len(there))
				}
			}
		})
	}
}

// Who comes first has it, whatever the order of node ids, and however often a rival
// announces, withdraws and signs anew.
func TestFirstContactRace(t *testing.T) {
	for _, ids := range [][2]string{{"n1", "n2"}, {"n2", "n1"}} {
		first, second := signed(withNetworks(ids[0], "11", "10.9.0.0/24"), 1), signed(withNetworks(ids[1], "11", "10.9.0.0/24"), 1)
		first.Nodename, second.Nodename = "web", "web"
		tr := newTrial(t)
		tr.decide(0, first)
		for i := range 20 {
			second.Record.Sequence++
			second.AdditionalAddresses = prefixes("10.9.0.0/24 10.9.0.0/25")[i%2:]
			plan := tr.decide(time.Second, first, second)
			tr.want(plan, "10.9.0.1", ids[0])
			tr.want(plan, "fd00:0:0:2::11", ids[0])
			tr.decide(time.Second, first)
			if owner := ownerOfName(plan, "web"); owner != ids[0] {
				t.Errorf("web is %q", owner)
			}
		}
	}
	// Of two that are seen together, it does not depend on the order of discovery's list.
	one, two := signed(withNetworks("n1", "11", "10.9.0.0/24"), 1), signed(withNetworks("n2", "12", "10.9.0.0/24"), 99)
	for _, list := range [][]Affiliate{{one, two}, {two, one}} {
		tr := newTrial(t)
		tr.want(tr.decide(0, list...), "10.9.0.1", "n1")
	}
}

// A node that has signed is never taken unsigned again, nor by an older record, whatever
// else those announce; what it has stays as it was.
func TestSignedNodesAreNotRolledBack(t *testing.T) {
	b := signed(withNetworks("b", "11", "10.9.0.0/24"), 9)
	for name, change := range map[string]func(*Affiliate){
		"unsigned":                func(a *Affiliate) { a.Record = Record{} },
		"an older record":         func(a *Affiliate) { a.Record.Sequence = 8 },
		"an older leave":          func(a *Affiliate) { *a = Affiliate{NodeID: "b", Record: Record{Sequence: 8, Start: 1, Left: true}} },
		"unsigned, ephemeral":     func(a *Affiliate) { a.Record = Record{Ephemeral: true} },
		"an unsigned leave":       func(a *Affiliate) { a.Record = Record{Left: true} },
		"older, of a new process": func(a *Affiliate) { a.Record = Record{Sequence: 8, Instance: 99, Start: 8} },
	} {
		tr := newTrial(t)
		tr.decide(0, b)
		forged := b
		forged.PublicKey, forged.AdditionalAddresses, forged.Endpoints = testKey("evil"), prefixes("10.8.0.0/24"), []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:1")}
		change(&forged)
		plan := tr.decide(time.Minute, forged)
		tr.want(plan, "10.9.0.1", "held")
		tr.want(plan, "10.8.0.1", "clear")
		if len(plan.Peers) != 0 {
			t.Errorf("%s: peers %v", name, plan.Peers)
		}
		if p := othersOf(plan.Pins); len(p) != 1 || p[0].Sequence != 9 || p[0].Left || p[0].Ephemeral || p[0].PublicKey != b.PublicKey {
			t.Errorf("%s: pins %+v", name, p)
		}
		tr.want(tr.decide(time.Minute, b), "10.9.0.1", "b")
	}
}

// Public space needs an allowance also in small pieces, over many nodes, in mapped and
// embedded forms, and as addresses of nodes themselves.
func TestPublicSpaceInPieces(t *testing.T) {
	var nodes []Affiliate
	for i := range 200 {
		a := signed(testPeer(fmt.Sprintf("m%03d", i), fmt.Sprintf("%x", 0x100+i)), 1)
		for j := range 100 {
			a.AdditionalAddresses = append(a.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{8, byte(i), byte(j), 0}), 24+j%9))
		}
		v4 := netip.AddrFrom4([4]byte{9, 9, byte(i), 1})
		a.AdditionalAddresses = append(
			a.AdditionalAddresses,
			netip.PrefixFrom(netip.AddrFrom16(v4.As16()), 120), netip.PrefixFrom(netip.AddrFrom16(v4.As16()), 128),
			netip.MustParsePrefix("64:ff9b::909:0/112"), netip.MustParsePrefix("2000::/3"), netip.MustParsePrefix("2600::/12"),
		)
		a.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{1, 1, 1, byte(i)}), netip.AddrFrom16(v4.As16()), netip.MustParseAddr("2606:4700::1")}
		nodes = append(nodes, a)
	}
	tr := newTrial(t)
	plan := tr.decide(0, nodes...)
	for _, to := range []string{"8.0.0.1", "8.7.3.1", "9.9.9.1", "1.1.1.1", "64:ff9b::909:901", "2606:4700::1", "2001:db9::1"} {
		tr.want(plan, to, "clear")
	}
	for _, p := range plan.Routed {
		if a := p.Addr(); a.Is4() || !testSubnet.Contains(a) {
			t.Errorf("routed: %s", p)
		}
	}
	if !hasCondition(plan, ConditionRouteRefused) {
		t.Error("nothing says so")
	}
}

// 900 made-up nodes with valid signatures change all the time. What real nodes have stays
// theirs, and what is remembered and said is bounded.
func TestSignedSybils(t *testing.T) {
	first := signed(withNetworks("zz", "11", "192.168.7.0/24"), 1)
	first.Nodename = "real"
	tr := newTrial(t)
	tr.decide(0, first)
	for round := range uint64(3) {
		all := []Affiliate{first}
		for i := range 900 {
			a := signed(testPeer(fmt.Sprintf("a%03d-%d", i, round), fmt.Sprintf("%x", 0x1000+i)), round+1)
			a.Nodename = "real"
			for j := range 60 {
				a.AdditionalAddresses = append(a.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), byte(j << 2)}), 30))
			}
			all = append(all, a)
		}
		plan := tr.decide(time.Minute, all...)
		tr.want(plan, "192.168.7.9", "zz")
		tr.want(plan, first.Address.String(), "zz")
		if owner := ownerOfName(plan, "real"); owner != "zz" {
			t.Errorf("the name is %q's", owner)
		}
		if len(plan.Pins) > maxPins || len(plan.Routed) > 1<<14 {
			t.Errorf("%d pins, %d networks are routed", len(plan.Pins), len(plan.Routed))
		}
	}
	if !slices.ContainsFunc(tr.in.Pins, func(p Pin) bool { return p.NodeID == "zz" && p.Nodename == "real" }) {
		t.Error("the real node is not remembered")
	}
}

// Names and ids of others reach messages quoted, also in the advice for a node that was
// installed anew, whatever they hold.
func TestAdviceOfDuplicates(t *testing.T) {
	first, second := testPeer("n1", "11"), testPeer("x;touch${IFS}/pwned;#", "12")
	first.Nodename, second.Nodename = "web`id`", "web`id`"
	tr := newTrial(t)
	tr.decide(0, first)
	plan := tr.decide(time.Minute, first, second)
	for _, c := range plan.Conditions {
		if _, command, found := strings.Cut(c.Message, "run: wirespan accept "); found && !strings.HasPrefix(command, "'x;touch${IFS}/pwned;#'") {
			t.Errorf("advice %q", command)
		}
	}
	if !hasCondition(plan, ConditionDuplicateNodename) {
		t.Errorf("conditions %v", plan.Conditions)
	}
}
