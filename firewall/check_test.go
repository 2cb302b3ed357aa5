package firewall_test

import (
	"strings"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
)

func TestNumbersCheck(t *testing.T) {
	if err := testNumbers().Check(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*Numbers)
		want   string
	}{
		{"all zero", func(n *Numbers) { *n = Numbers{} }, "firewall.table: is empty"},
		{"no table", func(n *Numbers) { n.Table = "" }, "firewall.table: is empty"},
		{"long table", func(n *Numbers) { n.Table = strings.Repeat("a", 32) }, "firewall.table: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" has more than 31 characters"},
		{"table with a blank", func(n *Numbers) { n.Table = "my table" }, "firewall.table: \"my table\" is not a valid nftables name"},
		{"table begins with a digit", func(n *Numbers) { n.Table = "9to5" }, "firewall.table: \"9to5\" is not a valid nftables name"},
		{"table not in ASCII", func(n *Numbers) { n.Table = "wäre" }, "firewall.table: \"wäre\" is not a valid nftables name"},
		{"table is a keyword", func(n *Numbers) { n.Table = "ip" }, "firewall.table: \"ip\" is a keyword of nft"},
		{"no encrypted mark", func(n *Numbers) { n.EncryptedMark = 0 }, "firewall.encryptedMark: 0 is the mark of ordinary packets"},
		{"no tunnel mark", func(n *Numbers) { n.TunnelMark = 0 }, "firewall.tunnelMark: 0 is the mark of ordinary packets"},
		{"encrypted mark outside", func(n *Numbers) { n.EncryptedMark = 0x120 }, "firewall.encryptedMark: 0x120 has bits outside firewall.mask (0x60)"},
		{"tunnel mark outside", func(n *Numbers) { n.TunnelMark = 0x80 }, "firewall.tunnelMark: 0x80 has bits outside firewall.mask (0x60)"},
		{"equal marks", func(n *Numbers) { n.TunnelMark = 0x20 }, "firewall.tunnelMark: 0x20 equals firewall.encryptedMark"},
		{"no mask", func(n *Numbers) { n.Mask = 0 }, "firewall.mask (0x0)"},
		{"no routing table", func(n *Numbers) { n.RoutingTable = 0 }, "firewall.routingTable: 0 is not a routing table"},
		{"main routing table", func(n *Numbers) { n.RoutingTable = 254 }, "firewall.routingTable: 254 is reserved by the system"},
		{"default routing table", func(n *Numbers) { n.RoutingTable = 253 }, "firewall.routingTable: 253 is reserved by the system"},
		{"local routing table", func(n *Numbers) { n.RoutingTable = 255 }, "firewall.routingTable: 255 is reserved by the system"},
		{"negative routing table", func(n *Numbers) { n.RoutingTable = -1 }, "firewall.routingTable: -1 is not a routing table"},
		{"priority of table local", func(n *Numbers) { n.RulePriority = 0 }, "firewall.rulePriority: 0 is not from 1 to 32765"},
		{"priority of table main", func(n *Numbers) { n.RulePriority = 32766 }, "firewall.rulePriority: 32766 is not from 1 to 32765"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := testNumbers()
			tt.change(&n)
			if err := n.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	for _, n := range []Numbers{
		{Table: "a", EncryptedMark: 1, TunnelMark: 2, Mask: 3, RoutingTable: 1, RulePriority: 1},
		{Table: strings.Repeat("z", 31), EncryptedMark: 1 << 31, TunnelMark: 3 << 30, Mask: 0xffffffff, RoutingTable: 256, RulePriority: 32765},
	} {
		if err := n.Check(); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Policy)
		want   string
	}{
		{"bad numbers", func(p *Policy) { p.Mask = 0 }, "firewall.encryptedMark"},
		{"no interface", func(p *Policy) { p.Interface = "" }, `interface: ""`},
		{"interface is a pattern", func(p *Policy) { p.Interface = "wg*" }, `interface: "wg*"`},
		{"long interface", func(p *Policy) { p.Interface = "wirespan-tunnel0" }, "interface: \"wirespan-tunnel0\""},
		{"small MTU", func(p *Policy) { p.MTU = 1279 }, "mtu: 1279 is not from 1280 to 65535"},
		{"IPv4 cluster", func(p *Policy) { p.Subnet = prefixes("10.0.0.0/8")[0] }, "10.0.0.0/8 is not an IPv6 network"},
		{"overlap", func(p *Policy) { p.Routed = prefixes("10.0.0.0/8 10.1.0.0/16") }, "routed networks: 10.0.0.0/8 and 10.1.0.0/16 overlap"},
		{"duplicate", func(p *Policy) { p.Routed = prefixes("10.0.0.0/8 10.0.0.0/8") }, "overlap"},
		{"order", func(p *Policy) { p.Routed = prefixes("2001:db8::/32 10.0.0.0/8") }, "routed networks: 2001:db8::/32 is listed before 10.0.0.0/8"},
		{"unmasked", func(p *Policy) { p.Routed = prefixes("10.0.0.1/8") }, "routed networks: 10.0.0.1/8 is not a network"},
		{"mapped", func(p *Policy) { p.Routed = prefixes("::ffff:10.0.0.0/104") }, "is not a network"},
		{"the cluster's", func(p *Policy) { p.Routed = prefixes("fd00::/8") }, "routed networks: fd00::/8 overlaps fd5a:1b2c:3d4e:5f02::/64"},
		{"link-local", func(p *Policy) { p.Routed = prefixes("::/0") }, "routed networks: ::/0 overlaps fd5a:1b2c:3d4e:5f02::/64"},
		{"multicast", func(p *Policy) { p.Routed = prefixes("224.0.0.0/3") }, "routed networks: 224.0.0.0/3 overlaps 224.0.0.0/4 (multicast)"},
		{"loopback", func(p *Policy) { p.Routed = prefixes("127.0.0.1/32") }, "routed networks: 127.0.0.1/32 overlaps 127.0.0.0/8 (loopback)"},
		{"masquerade", func(p *Policy) { p.Masquerade = prefixes("10.0.0.0/8 10.0.0.0/8") }, "masqueraded networks: 10.0.0.0/8"},
		{"default action", func(p *Policy) { p.Ingress.Default = "deny" }, `ingress: default action "deny" is neither "accept" nor "block"`},
		{"protocol", func(p *Policy) { p.Ingress.Rules = []IngressRule{{Name: "x", Protocol: "sctp"}} }, `ingress rule "x": protocol "sctp" is not one of`},
		{"ports of ICMP", func(p *Policy) {
			p.Ingress.Rules = []IngressRule{{Name: "x", Protocol: ProtocolICMP, Ports: []PortRange{{1, 2}}}}
		}, `ingress rule "x": icmp has no ports`},
		{"ports backwards", func(p *Policy) {
			p.Ingress.Rules = []IngressRule{{Name: "x", Protocol: ProtocolTCP, Ports: []PortRange{{2, 1}}}}
		}, `ingress rule "x": port range 2-1 ends before it begins`},
		{"sources overlap", func(p *Policy) {
			p.Ingress.Rules = []IngressRule{{Name: "x", Protocol: ProtocolTCP, Sources: prefixes("10.0.0.0/8 10.0.0.0/9")}}
		}, `ingress rule "x": 10.0.0.0/8 and 10.0.0.0/9 overlap`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testPolicy()
			tt.change(&p)
			if err := p.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
