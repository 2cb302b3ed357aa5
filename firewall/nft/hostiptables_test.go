package nft

import (
	"fmt"
	"strings"
	"testing"
)

// iptablesCases are rules as iptables-save shows them.
var iptablesCases = []struct {
	name, rules string
	packet      HostPacket
	chain       string // that drops the packet; empty: none certainly does
	policy      bool
	reversePath bool
}{
	{name: "accepting", packet: toLAN, rules: "*filter\n:FORWARD ACCEPT\nCOMMIT"},
	{name: "states", packet: toLAN, chain: "ip filter FORWARD", policy: true, rules: "*filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -m state --state INVALID -j DROP\nCOMMIT"},
	{name: "new connections", packet: toLAN, rules: "*filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT"},
	{name: "but new connections", packet: toLAN, chain: "ip filter FORWARD", rules: "*filter\n-A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j REJECT\nCOMMIT"},
	{name: "ports decide", packet: toLAN, rules: "*filter\n:FORWARD DROP\n-A FORWARD -p tcp -m multiport --dports 80,443 -j ACCEPT\nCOMMIT"},
	{name: "a port", packet: toLAN, rules: "*filter\n:FORWARD DROP\n-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT"},
	{name: "another protocol", packet: toLAN, chain: "ip filter FORWARD", policy: true, rules: "*filter\n:FORWARD DROP\n-A FORWARD -p udp -m udp --dport 80 -j ACCEPT\nCOMMIT"},
	{name: "interfaces by prefix", packet: toLAN, chain: "ip filter FORWARD", rules: "*filter\n-A FORWARD -i wire+ -o lan+ -j DROP\nCOMMIT"},
	{name: "other interfaces", packet: toLAN, rules: "*filter\n-A FORWARD ! -i wire+ -j DROP\n-A FORWARD ! -d 10.9.0.0/16 -i wirespan0 -j DROP\nCOMMIT"},
	{name: "a range", packet: toLAN, rules: "*filter\n-A FORWARD -m iprange --src-range 10.7.0.1-10.7.0.9 -j DROP\nCOMMIT"},
	{name: "marks", packet: toLAN, chain: "ip filter FORWARD", rules: "*filter\n-A FORWARD -j MARK --set-xmark 0x10000/0x10000\n-A FORWARD -m mark ! --mark 0x10000/0x10000 -j ACCEPT\n-A FORWARD -m mark --mark 0x10000/0x30000 -m comment --comment marked -j DROP\nCOMMIT"},
	{name: "a mark of the connection", packet: toLAN, rules: "*filter\n-A FORWARD -j CONNMARK --restore-mark\n-A FORWARD -m mark --mark 0x1 -j DROP\nCOMMIT"},
	{name: "a limit and a log", packet: toLAN, chain: "ip filter FORWARD", policy: true, rules: "*filter\n:FORWARD DROP\n-A FORWARD -m limit --limit 3/min -j LOG --log-prefix dropped\nCOMMIT"},
	{name: "NixOS", packet: fromMesh4, rules: nixosIPTables("--validmark")},
	{name: "NixOS, without marks", packet: fromMesh4, rules: nixosIPTables("--loose"), chain: ""},
	{name: "NixOS, strict", packet: fromMesh4, rules: nixosIPTables(""), chain: "ip mangle PREROUTING", reversePath: true},
}

// nixosIPTables is NixOS' checkReversePath by iptables.
func nixosIPTables(flag string) string {
	return `*mangle
:nixos-fw-rpfilter -
-A PREROUTING -j nixos-fw-rpfilter
-A nixos-fw-rpfilter -m rpfilter ` + flag + ` -j RETURN
-A nixos-fw-rpfilter -p udp -m udp --sport 67 --dport 68 -j RETURN
-A nixos-fw-rpfilter -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67 -j RETURN
-A nixos-fw-rpfilter -j DROP
COMMIT`
}

// Rules of iptables-nft are understood as the kernel has them, and the command that the
// condition is made of lets the packet pass.
func TestHostDropsOfIPTables(t *testing.T) {
	namespace(t)
	for i, name := range []string{"wirespan0", "lan0"} {
		tunnel(t, name)
		run(t, "ip", "address", "add", []string{"192.0.2.1/32", "10.9.0.1/16"}[i], "dev", name)
	}
	run(t, "ip", "route", "add", "default", "dev", "lan0")
	run(t, strings.Fields("ip rule add fwmark 0x40/0x60 lookup 180 priority 32500")...)
	run(t, strings.Fields("ip route add default dev wirespan0 table 180")...)
	f := open(t)
	for _, tc := range iptablesCases {
		run(t, "nft", "flush ruleset")
		feed(t, tc.rules+"\n", "iptables-nft-restore")
		drops, err := f.HostDrops("wirespan", []HostPacket{tc.packet})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var got HostDrop
		if drops[0] != nil {
			got = *drops[0]
		}
		if got.Chain != tc.chain || got.Policy != tc.policy || got.ReversePath != tc.reversePath {
			t.Errorf("%s: %+v", tc.name, got)
		}
		if got.Chain == "" {
			continue
		}
		run(t, strings.Fields(fmt.Sprintf("%s -I %s -i wirespan0 -j ACCEPT", got.IPTables, got.Insert[strings.LastIndexByte(got.Insert, ' ')+1:]))...)
		if drops, err := f.HostDrops("wirespan", []HostPacket{tc.packet}); err != nil || drops[0] != nil {
			t.Errorf("%s: still dropped by %+v, %v", tc.name, drops[0], err)
		}
	}
}
