package firewall_test

import (
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/firewall"
)

func ExamplePolicy_Explain() {
	p := firewall.Policy{
		Numbers: firewall.Numbers{
			Table: "wirespan", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500,
		},
		Interface: "wirespan0", MTU: 1420,
		Routed: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
	}
	q := firewall.Query{
		Destination: netip.MustParseAddr("10.1.2.3"),
		Peers:       []firewall.Owner{{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Peer: "gateway-a"}},
	}
	v := p.Explain(q)
	fmt.Println(v.Path, "to", v.Peer)
	for _, r := range v.Reasons {
		fmt.Printf("%s: %s\n", r.Where, r.Text)
	}
	// Output:
	// tunnel to gateway-a
	// outgoing: 10.1.2.3 is in 10.1.0.0/16 of set routed4: it gets mark 0x40
	// table 180: it goes by wirespan0
	// peers: gateway-a has 10.1.0.0/16
}

func ExampleCompile() {
	p := firewall.Policy{
		Numbers: firewall.Numbers{
			Table: "wirespan", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500,
		},
		Interface: "wirespan0", MTU: 1420,
		Routed: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.0.2.7/32")},
	}
	rs := firewall.Compile(p)
	fmt.Print(rs.Sets[0])
	fmt.Println(rs.Routes[0])
	// Output:
	// 	set routed4 {
	// 		type ipv4_addr
	// 		flags interval
	// 		elements = { 10.1.0.0/16, 192.0.2.7 }
	// 	}
	// ip route add default dev wirespan0 table 180 metric 1 mtu 1420
}

func ExampleMatcher_Allows() {
	m := firewall.NewMatcher(firewall.Ingress{Default: firewall.ActionBlock, Rules: []firewall.IngressRule{{
		Name: "ssh", Protocol: firewall.ProtocolTCP, Ports: []firewall.PortRange{{From: 22, To: 22}},
		Sources: firewall.Sources([]firewall.Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/16")}}, nil),
	}}})
	ok, rule := m.Allows(firewall.Flow{Source: netip.MustParseAddr("10.1.2.3"), Protocol: 6, DestinationPort: 22})
	fmt.Println(ok, rule)
	ok, rule = m.Allows(firewall.Flow{Source: netip.MustParseAddr("10.2.2.3"), Protocol: 6, DestinationPort: 22})
	fmt.Printf("%v %q\n", ok, rule)
	// Output:
	// true ssh
	// false ""
}
