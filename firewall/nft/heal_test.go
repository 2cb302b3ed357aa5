package nft

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// Apply repairs all damage by others, and then has nothing left to do.
func TestHeal(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	p := policy("10.1.0.0/16", "10.2.0.0/16", "10.4.0.0/16", "255.255.255.0/24", "fd01::/48", "ff00::/8")
	rs := firewall.Compile(p)
	apply(t, f, rs)
	for _, harm := range []string{
		"nft flush ruleset",
		"nft flush chain inet wirespan guard",
		"nft insert rule inet wirespan guard accept",
		"nft add rule inet wirespan clamp accept",
		"nft add chain inet wirespan more",
		"nft add counter inet wirespan more",
		"nft add set inet wirespan more { type ipv4_addr; }",
		"nft chain inet wirespan preraw { policy drop; }",
		"nft add table inet wirespan { flags dormant; }",
		"nft rename chain inet wirespan clamp renamed",
		"nft delete element inet wirespan routed4 { 10.2.0.0/16 }",
		"nft delete element inet wirespan routed4 { 255.255.255.0/24 }",
		"nft add element inet wirespan routed6 { fd03::-fd03::5 }",
		"nft flush set inet wirespan routed6",
		"ip rule del priority 32500",
		"ip -6 rule del priority 32500",
		"ip route flush table 180",
		"ip -6 route flush table 180",
		"ip route del unreachable default table 180",
		"ip -6 route del unreachable fd12:3456:789a:bc02::/64",
		"ip route replace default dev wstest0 table 180 proto static metric 1 mtu 1300",
		"ip -6 route change default dev wstest0 table 180 proto static metric 1 mtu 1300",
		"ip route add unreachable 10.9.0.0/16 table 180 proto static",
		"ip -6 route add fd77::/16 dev wstest0 table 180 proto static",
		"ip rule add priority 32500 fwmark 0x10/0x10 lookup 180 protocol static",
		"ip rule add priority 32500 fwmark 0x40/0x60 lookup 180 protocol boot",
		"link",
	} {
		t.Log(harm)
		if harm == "link" {
			run(t, "ip", "link", "set", iface, "down")
			run(t, "ip", "link", "set", iface, "up")
		} else {
			run(t, strings.Fields(harm)...)
		}
		apply(t, f, rs)
		expect(t, rs)
		unchanged(t, func() { apply(t, f, rs) })
	}
}

// A new process replaces the table of an earlier one, which was killed.
func TestFreshProcess(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	rs := firewall.Compile(policy("10.1.0.0/16"))
	apply(t, open(t), rs)
	run(t, "nft", "add rule inet wirespan guard accept")
	var second *Firewall
	interim := interimOf(&rs)
	for range 2 { // killed while it replaced the table, with the table there or not
		if err := open(t).table.create(&interim); err != nil {
			t.Fatal(err)
		}
		second = open(t)
		apply(t, second, rs)
		expect(t, rs)
		if s := run(t, "nft", "list", "tables"); s != "table inet wirespan\n" {
			t.Errorf("tables: %s", s)
		}
		g, err := second.table.generation()
		if err != nil || second.table.cache == nil || second.table.cache.generation != g {
			t.Errorf("in generation %d, the cache is %+v, %v", g, second.table.cache, err)
		}
		run(t, "nft", "flush", "ruleset")
	}
	apply(t, second, rs)
	expect(t, rs)
	unchanged(t, func() { apply(t, second, rs) })
}

// Another program deletes one end of an interval, which nft(8) never does.
func TestHalfInterval(t *testing.T) {
	namespace(t)
	f, other := open(t), open(t)
	rs := firewall.Compile(policy("10.1.0.0/16", "10.3.0.0/16"))
	apply(t, f, rs)
	g, err := other.table.generation()
	if err != nil {
		t.Fatal(err)
	}
	tx := other.table.begin(g)
	tx.removeElements(rs.Table, "routed4", []netlink.Interval{{From: netip.MustParseAddr("10.3.0.0")}})
	if err := tx.commit(sendBatch); err != nil {
		t.Fatal(err)
	}
	apply(t, f, rs)
	rs.Routes = rs.Routes[2:] // the interface does not exist
	expect(t, rs)
}
