package node

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
)

// TestLookup checks which path and which reasons follow from the kernel's answers.
func TestLookup(t *testing.T) {
	const iface = "wirespan0"
	unicast := func(name string, table int) nft.RouteView {
		return nft.RouteView{Type: "unicast", Interface: name, Table: table}
	}
	eth0, tunnel := unicast("eth0", firewall.RouteMain), unicast(iface, 180)
	unreachable := nft.RouteView{Type: "unreachable", Table: 180}
	for name, test := range map[string]struct {
		view    nft.KernelView
		to      string
		path    firewall.Path
		reasons []string
	}{
		"own address": {nft.KernelView{Unmarked: nft.RouteView{Type: "local"}}, "192.0.2.1", firewall.PathLocal, []string{"table local"}},
		"tunnel": {
			nft.KernelView{Table: true, Routed: true, Network: "10.1.0.0/16", Mark: 0x40, Rule: true, Unmarked: eth0, Marked: tunnel},
			"10.1.2.3", firewall.PathTunnel,
			[]string{"routed4", "ip rule", "table 180"},
		},
		"tunnel, IPv6": {
			nft.KernelView{Table: true, Routed: true, Network: "2001:db8::/32", Mark: 0x40, Rule: true, Unmarked: eth0, Marked: tunnel},
			"2001:db8::1", firewall.PathTunnel,
			[]string{"routed6", "ip rule", "table 180"},
		},
		"no interface": {
			nft.KernelView{Table: true, Routed: true, Network: "10.1.0.0/16", Mark: 0x40, Rule: true, Unmarked: eth0, Marked: unreachable},
			"10.1.2.3", firewall.PathRefused,
			[]string{"routed4", "ip rule", "table 180"},
		},
		"no rule": {
			nft.KernelView{Table: true, Routed: true, Network: "10.1.0.0/16", Mark: 0x40, Unmarked: eth0, Marked: tunnel},
			"10.1.2.3", firewall.PathRefused,
			[]string{"routed4", "ip rule", "guard"},
		},
		"mesh address": {nft.KernelView{Table: true, Unmarked: tunnel}, "fd00::1", firewall.PathTunnel, []string{"routed6", "table 180"}},
		"mesh address, no route": {
			nft.KernelView{Table: true, Unmarked: eth0}, "fd00::1", firewall.PathRefused, []string{"routed6", "guard"},
		},
		"mesh address, no table":   {nft.KernelView{Unmarked: eth0}, "fd00::1", firewall.PathBypass, []string{"nftables", "table main"}},
		"elsewhere":                {nft.KernelView{Table: true, Rule: true, Unmarked: eth0, Marked: tunnel}, "203.0.113.1", firewall.PathBypass, []string{"routed4", "table main"}},
		"elsewhere, without route": {nft.KernelView{Table: true, Unmarked: nft.RouteView{}}, "203.0.113.1", firewall.PathBypass, []string{"routed4", "table main"}},
	} {
		l := lookup{
			view: test.view, query: firewall.Query{Destination: netip.MustParseAddr(test.to)},
			policy: firewall.Policy{Interface: iface, Subnet: netip.MustParsePrefix("fd00::/64"), Numbers: firewall.Numbers{RoutingTable: 180}},
		}
		l.route()
		var where []string
		for _, r := range l.Reasons {
			where = append(where, r.Where)
		}
		if got, want := strings.Join(where, ", "), strings.Join(test.reasons, ", "); l.Path != test.path || got != want {
			t.Errorf("%s: path %s by %q, want %s by %q", name, l.Path, got, test.path, want)
		}
	}
}

// What the kernel does not forward is refused, whichever way it would go.
func TestLookupOfWhatIsNotForwarded(t *testing.T) {
	const off = "net.ipv6.conf.all.forwarding"
	for name, test := range map[string]struct {
		route nft.RouteView
		off   string
		path  firewall.Path
	}{
		"behind this node":          {nft.RouteView{Type: "unicast", Interface: "lan", Table: firewall.RouteMain}, off, firewall.PathRefused},
		"to another peer":           {nft.RouteView{Type: "unicast", Interface: "wirespan0", Table: 180}, off, firewall.PathRefused},
		"this node":                 {nft.RouteView{Type: "local"}, off, firewall.PathLocal},
		"no route":                  {nft.RouteView{Type: "none"}, off, firewall.PathBypass},
		"behind it, and forwarding": {nft.RouteView{Type: "unicast", Interface: "lan", Table: firewall.RouteMain}, "", firewall.PathBypass},
	} {
		l := lookup{
			view: nft.KernelView{Table: true, Unmarked: test.route, NotForwarded: test.off}, policy: firewall.Policy{Interface: "wirespan0"},
			query: firewall.Query{Destination: netip.MustParseAddr("fd99::5"), Source: netip.MustParseAddr("fd00::1")},
		}
		l.route()
		named := strings.Contains(l.Reasons[len(l.Reasons)-1].Text, off)
		if l.Path != test.path || named != (test.path == firewall.PathRefused) {
			t.Errorf("%s: %+v, want %s", name, l.Explanation, test.path)
		}
	}
}
