package nft

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// Packets that the rules of other programs are tried on.
var (
	fromMesh6 = HostPacket{Hook: firewall.HookPrerouting, In: "wirespan0", Source: netip.MustParseAddr("fd05::7"), Protocol: firewall.ProtocolTCP, Mark: 0x40}
	fromMesh4 = HostPacket{Hook: firewall.HookPrerouting, In: "wirespan0", Source: netip.MustParseAddr("10.7.0.7"), Protocol: firewall.ProtocolTCP, Mark: 0x40}
	toLAN     = HostPacket{
		Hook: firewall.HookForward, In: "wirespan0", Out: "lan0", Protocol: firewall.ProtocolTCP,
		Source: netip.MustParseAddr("10.7.0.7"), Destination: netip.MustParseAddr("10.9.0.0"),
	}
)

// hostDropCases are rules as other programs write them.
var hostDropCases = []struct {
	name, rules string
	packet      HostPacket
	chain       string // that drops the packet; empty: none certainly does
	policy      bool
	reversePath bool
	insert      string // empty: chain
}{
	{name: "nothing", packet: toLAN},
	{name: "firewalld", packet: fromMesh6, rules: firewalldCheck("saddr . mark . iif")},
	{name: "firewalld, IPv4", packet: fromMesh4, rules: firewalldCheck("saddr . mark . iif")},
	{name: "old firewalld", packet: fromMesh6, rules: firewalldCheck("saddr . iif"), chain: "inet firewalld filter_PREROUTING", reversePath: true},
	{name: "NixOS", packet: fromMesh4, rules: nixosCheck("saddr . mark . iif oif exists")},
	{name: "NixOS, without marks", packet: fromMesh4, rules: nixosCheck("saddr . iif oif exists"), chain: "inet nixos-fw rpfilter", policy: true, reversePath: true},
	{name: "a check by name", packet: fromMesh4, rules: nixosCheck("saddr . mark oif 1"), chain: "inet nixos-fw rpfilter", policy: true, reversePath: true},
	{name: "policy", packet: toLAN, rules: `table ip filter { chain FORWARD { type filter hook forward priority filter; policy drop; ct state established,related accept; } }`, chain: "ip filter FORWARD", policy: true},
	{name: "policy of the other family", packet: toLAN, rules: `table ip6 filter { chain FORWARD { type filter hook forward priority filter; policy drop; } }`},
	{name: "Docker", packet: toLAN, rules: dockerRules(""), chain: "ip filter FORWARD", policy: true, insert: "ip filter DOCKER-USER"},
	{name: "Docker, let through", packet: toLAN, rules: dockerRules(`iifname "wirespan0" accept`)},
	{name: "Docker, let through by mark", packet: toLAN, rules: dockerRules("meta mark and 0xf == 0x0 accept")},
	{name: "ports decide", packet: toLAN, rules: `table inet f { chain forward { type filter hook forward priority filter; policy drop; tcp dport 443 accept; } }`},
	{name: "another protocol", packet: toLAN, rules: `table inet f { chain forward { type filter hook forward priority filter; policy drop; udp dport 443 accept; icmp type echo-request accept; } }`, chain: "inet f forward", policy: true},
	{name: "verdict map", packet: toLAN, rules: `table inet f { chain forward { type filter hook forward priority filter; ct state vmap { established : accept, related : accept, new : jump fresh }; }
		chain fresh { iifname vmap { "lan0" : accept, "wirespan0" : drop }; } }`, chain: "inet f forward"},
	{name: "networks in a set", packet: toLAN, rules: `table inet f { set inside { type ipv4_addr; flags interval; elements = { 10.8.0.0/15, 192.168.0.0/16 }; }
		chain forward { type filter hook forward priority filter; ip daddr @inside iifname != { "lan0", "eth0" } reject; } }`, chain: "inet f forward"},
	{name: "networks not in a set", packet: toLAN, rules: `table inet f { set inside { type ipv4_addr; flags interval; elements = { 10.10.0.0/15, 192.168.0.0/16 }; }
		chain forward { type filter hook forward priority filter; ip daddr @inside drop; } }`},
	{name: "a range of addresses", packet: toLAN, rules: `table inet f { chain forward { type filter hook forward priority filter; ip saddr 10.7.0.1-10.7.0.9 drop; } }`, chain: "inet f forward"},
	{name: "a limit", packet: toLAN, rules: `table inet f { chain forward { type filter hook forward priority filter; limit rate over 1/second drop; } }`},
	{name: "a loop is no end", packet: toLAN, rules: `table inet f { chain a { goto b; } 
		chain b { return; } 
		chain forward { type filter hook forward priority filter; policy drop; jump a; } }`, chain: "inet f forward", policy: true},
	{name: "dormant", packet: toLAN, rules: `table inet f { flags dormant; chain forward { type filter hook forward priority filter; policy drop; } }`},
	{name: "own table", packet: toLAN, rules: `table inet wirespan { chain forward { type filter hook forward priority filter; policy drop; } }`},
}

// firewalldCheck is firewalld's IPv6_rpfilter.
func firewalldCheck(keys string) string {
	return `table inet firewalld { chain filter_PREROUTING { type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type { 134, 135 } accept
		meta nfproto ipv6 fib ` + keys + ` oif missing drop; } }`
}

// nixosCheck is NixOS' checkReversePath.
func nixosCheck(fib string) string {
	return `table inet nixos-fw { chain rpfilter { type filter hook prerouting priority mangle + 10; policy drop;
		meta nfproto ipv4 udp sport . udp dport { 67 . 68, 68 . 67 } accept
		fib ` + fib + ` accept; } }`
}

// dockerRules are Docker's, with a rule of the user.
func dockerRules(user string) string {
	return `table ip filter {
		chain DOCKER-USER { ` + user + `
			counter return; }
		chain DOCKER { ip daddr 172.17.0.2 iifname != "docker0" oifname "docker0" tcp dport 80 accept
			iifname != "docker0" oifname "docker0" drop; }
		chain DOCKER-FORWARD { ct state related,established oifname "docker0" accept
			oifname "docker0" jump DOCKER
			iifname "docker0" accept; }
		chain FORWARD { type filter hook forward priority filter; policy drop; counter jump DOCKER-USER; jump DOCKER-FORWARD; } }`
}

func TestHostDrops(t *testing.T) {
	namespace(t)
	for i, name := range []string{"wirespan0", "lan0", "eth0"} {
		tunnel(t, name)
		run(t, "ip", "address", "add", []string{"192.0.2.1/32", "10.9.0.1/16", "198.51.100.1/24"}[i], "dev", name)
	}
	run(t, "ip", "route", "add", "default", "via", "198.51.100.2")
	for _, family := range []string{"-4", "-6"} {
		run(t, "ip", family, "rule", "add", "fwmark", "0x40/0x60", "lookup", "180", "priority", "32500")
		run(t, "ip", family, "route", "add", "default", "dev", "wirespan0", "table", "180")
	}
	f := open(t)
	for _, tc := range hostDropCases {
		run(t, "nft", "flush ruleset")
		feed(t, strings.ReplaceAll(tc.rules, "} }", "}\n}"), "nft", "-f", "-")
		drops, err := f.HostDrops("wirespan", []HostPacket{tc.packet})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var got HostDrop
		if drops[0] != nil {
			got = *drops[0]
		}
		insert := tc.insert
		if insert == "" {
			insert = tc.chain
		}
		if got.Chain != tc.chain || got.Policy != tc.policy || got.ReversePath != tc.reversePath || got.Insert != insert {
			t.Errorf("%s: %+v", tc.name, got)
		}
		if got.Chain == "" {
			continue
		}
		// The rule at the place that is named lets the packet through.
		run(t, strings.Fields("nft insert rule "+got.Insert+" iifname wirespan0 accept")...)
		if drops, err := f.HostDrops("wirespan", []HostPacket{tc.packet}); err != nil || drops[0] != nil {
			t.Errorf("%s: still dropped by %+v, %v", tc.name, drops[0], err)
		}
	}
}

// Rules are read again only after others have changed some. What a set has, and where
// routes lead, is looked up each time.
func TestHostRulesAreKept(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	tunnel(t, "lan0")
	run(t, "ip", "address", "add", "10.9.0.1/16", "dev", "lan0")
	feed(t, `table inet f { set inside { type ipv4_addr; flags timeout; }
		chain forward { type filter hook forward priority filter; ip daddr @inside drop
		fib daddr oif != "lan0" reject; }
	}`, "nft", "-f", "-")
	f := open(t)
	packet := HostPacket{Hook: firewall.HookForward, In: iface, Out: "lan0", Source: netip.MustParseAddr("10.7.0.7"), Destination: netip.MustParseAddr("10.9.0.5")}
	expect := func(chain string, fresh bool) {
		t.Helper()
		before := f.table.host
		drops, err := f.HostDrops(policy().Table, []HostPacket{packet})
		if err != nil {
			t.Fatal(err)
		}
		if got := drops[0]; got == nil && chain != "" || got != nil && got.Chain != chain {
			t.Errorf("dropped by %+v, want %q", got, chain)
		}
		if read := f.table.host != before; read != fresh {
			t.Errorf("rules were read: %v, want %v", read, fresh)
		}
	}
	expect("", true)
	expect("", false)
	p := policy()
	apply(t, f, firewall.Compile(p)) // a new table, and changes of elements alone
	expect("", false)
	p.Routed = many(5)
	apply(t, f, firewall.Compile(p))
	expect("", false)
	run(t, "ip", "route", "add", "10.9.0.5", "dev", iface)
	expect("inet f forward", false)
	run(t, "ip", "route", "del", "10.9.0.5")
	expect("", false)
	run(t, "nft", "add element inet f inside { 10.9.0.5 timeout 1h }")
	expect("inet f forward", true)
	run(t, "nft", "flush set inet f inside")
	expect("", true)
	run(t, "nft", "flush ruleset")
	expect("", true)
}

// Thousands of rules cost no more than to read them once, and more than maxHostRules
// not even that.
func TestManyHostRules(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	fill := func(n int) {
		feed(t, "flush ruleset\ntable inet f { chain forward { type filter hook forward priority filter; policy drop\n"+
			strings.Repeat("ip saddr 192.0.2.1 tcp dport 80 counter accept\n", n)+"}\n}", "nft", "-f", "-")
	}
	packets := make([]HostPacket, 3)
	for i := range packets {
		packets[i] = HostPacket{Hook: firewall.HookForward, In: iface, Source: netip.AddrFrom4([4]byte{10, 7, 0, byte(i)}), Protocol: firewall.ProtocolTCP}
	}
	look := func() []*HostDrop {
		drops, err := f.HostDrops(policy().Table, packets)
		if err != nil {
			t.Fatal(err)
		}
		return drops
	}
	fill(maxHostRules - 100)
	if drops := look(); drops[0] == nil || drops[2] == nil {
		t.Errorf("not followed: %v", drops)
	}
	if n := testing.AllocsPerRun(5, func() { look() }); n > 200 {
		t.Errorf("%v allocations to look again", n)
	}
	fill(3 * maxHostRules)
	if drops := look(); drops[0] != nil {
		t.Errorf("followed through too many rules: %v", drops)
	}
	if h := f.table.host; h.chains != nil || h.bytes != 0 {
		t.Errorf("%d bytes of too many rules were read", h.bytes)
	}
}

// Whatever a rule has for attributes, following it ends.
func FuzzHostRule(f *testing.F) {
	f.Add([]byte("\x0c\x00\x01\x00\x08\x00\x01\x00cmp\x00"))
	f.Fuzz(func(t *testing.T, exprs []byte) {
		if bytes.Contains(exprs, []byte("lookup")) {
			t.Skip("it would read a set of the kernel")
		}
		attributes := append([]byte{byte(4 + len(exprs)), byte((4 + len(exprs)) >> 8), unix.NFTA_RULE_EXPRESSIONS, 0}, exprs...)
		v := verdicts{rules: &hostRules{}, packet: &HostPacket{Hook: firewall.HookForward}, steps: 1000}
		c := &hostChain{rules: []hostRule{parseRule(attributes)}}
		if end := v.chain(c, 0); end < endPass || end > endUnknown {
			t.Errorf("end %d", end)
		}
	})
}
