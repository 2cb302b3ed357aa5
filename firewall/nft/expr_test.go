package nft

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/nftables/expr"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// everything returns a ruleset with each expression in each of its forms, in
// chains where the kernel allows it.
func everything() firewall.Ruleset {
	filter := []firewall.Rule{
		{firewall.MarkIs{Mask: 0x60, Value: 0x20}, firewall.Verdict{Accept: true}},
		{firewall.MarkIs{CT: true, Mask: 0xff0000, Value: 0x10000}, firewall.Counter{}},
		{firewall.SetMark{Mask: 0x60, Value: 0x40}},
		{firewall.SetMark{CT: true, Mask: 0xff000000, Value: 0x12000000}},
		{firewall.Direction{}, firewall.Counter{}, firewall.Verdict{}},
		{firewall.Direction{Reply: true}, firewall.StateIs{}, firewall.Verdict{}},
		{firewall.StateIs{Invalid: true}, firewall.Verdict{}},
		{firewall.Interface{Name: "lo"}, firewall.Interface{Out: true, Name: "abcdefghijklmno"}, firewall.Counter{}},
		{firewall.Interface{Not: true, Name: "a"}, firewall.Interface{Out: true, Not: true, Name: "b"}, firewall.Counter{}},
		{firewall.InSet{Set: "four"}, firewall.InSet{Source: true, Not: true, Set: "four"}, firewall.Counter{}},
		{firewall.InSet{Set: "six", IPv6: true}, firewall.InSet{Source: true, Not: true, Set: "six", IPv6: true}, firewall.Counter{}},
		{firewall.Family{}, firewall.Counter{}},
		{firewall.Family{IPv6: true}, firewall.InSet{Set: "six", IPv6: true}, firewall.Counter{}},
		{firewall.NeighbourDiscovery{}, firewall.Verdict{Accept: true}},
		{firewall.Family{}, firewall.ClampMSS{Size: 1368}},
		{firewall.ClampMSS{Size: 1348}, firewall.Counter{}},
		{firewall.Jump{Chain: "later"}},
	}
	for _, p := range []string{"10.0.0.0/8", "10.8.0.0/13", "10.1.2.3/32", "fd00::/8", "fd12:3456::/61", "fd00::1/128", "fd12:3456:789a:bc02::/64"} {
		for _, source := range []bool{false, true} {
			filter = append(filter, firewall.Rule{firewall.Address{Source: source, Prefix: netip.MustParsePrefix(p)}, firewall.Counter{}})
		}
	}
	for _, p := range []firewall.Protocol{firewall.ProtocolTCP, firewall.ProtocolUDP} {
		filter = append(filter, firewall.Rule{firewall.ProtocolIs{Protocol: p}, firewall.Counter{}})
		for _, ports := range []firewall.PortRange{{From: 80, To: 80}, {From: 1, To: 65535}, {From: 256, To: 300}} {
			filter = append(filter, firewall.Rule{firewall.ProtocolIs{Protocol: p}, firewall.DestinationPort{Ports: ports}, firewall.Counter{}},
				firewall.Rule{firewall.ProtocolIs{Protocol: p}, firewall.SourcePort{Ports: ports}, firewall.FromSocket{}, firewall.Counter{}})
		}
	}
	for _, p := range []firewall.Protocol{firewall.ProtocolICMP, firewall.ProtocolICMPv6} {
		filter = append(filter, firewall.Rule{firewall.ProtocolIs{Protocol: p}, firewall.Counter{}})
	}
	return firewall.Ruleset{
		Table: "wstest",
		Sets: []firewall.Set{
			{Name: "four", Elements: prefixes("0.0.0.0/24", "10.0.0.0/8", "11.0.0.0/8", "255.0.0.0/8")},
			{Name: "six", IPv6: true, Elements: prefixes("fd00::/16", "fd01::/16", "ffff::/16")},
		},
		Chains: []firewall.Chain{
			{Name: "raw", Hook: firewall.HookPrerouting, Type: firewall.TypeFilter, Priority: firewall.PriorityRaw},
			{Name: "mangle", Hook: firewall.HookPrerouting, Type: firewall.TypeFilter, Priority: firewall.PriorityMangle},
			{Name: "forward", Hook: firewall.HookForward, Type: firewall.TypeFilter, Priority: firewall.PriorityFilter, Rules: filter},
			{Name: "input", Hook: firewall.HookInput, Type: firewall.TypeFilter, Priority: firewall.PriorityFilter},
			{Name: "output", Hook: firewall.HookOutput, Type: firewall.TypeRoute, Priority: firewall.PriorityFilter},
			{Name: "nat", Hook: firewall.HookPostrouting, Type: firewall.TypeNAT, Priority: firewall.PrioritySrcNAT, Rules: []firewall.Rule{
				{firewall.MarkIs{CT: true, Mask: 0x60, Value: 0x40}, firewall.Masquerade{}},
			}},
			{Name: "later", Rules: []firewall.Rule{{firewall.Counter{}, firewall.Verdict{}}}},
		},
	}
}

// Apply must write, byte for byte, what nft(8) writes for the same text.
func TestSameAsNFT(t *testing.T) {
	namespace(t)
	f := open(t)
	policies := map[string]firewall.Ruleset{"everything": everything()}
	blocked := policy("10.1.0.0/16", "fd01::/48")
	policies["ingress blocked"] = firewall.Compile(blocked)
	accepted := blocked
	accepted.Ingress.Default = firewall.ActionAccept
	accepted.Masquerade = prefixes("192.0.2.0/24", "2001:db8::/32")
	accepted.NoDefault4, accepted.NoDefault6 = true, true
	policies["ingress accepted"] = firewall.Compile(accepted)
	policies["nothing"] = firewall.Compile(firewall.Policy{Numbers: numbers, Interface: iface, MTU: 1420})
	for name, rs := range policies {
		apply(t, f, rs)
		ours := contents(t, f.table.nl, rs)
		run(t, "nft", "delete", "table", "inet", rs.Table)
		feed(t, rs.String(), "nft", "-f", "-")
		theirs := contents(t, f.table.nl, rs)
		run(t, "nft", "delete", "table", "inet", rs.Table)
		if len(ours) != len(theirs) {
			t.Fatalf("%s: %d objects, nft writes %d", name, len(ours), len(theirs))
		}
		for i := range ours {
			if ours[i] != theirs[i] {
				t.Errorf("%s:\n%s\nnft:\n%s", name, ours[i], theirs[i])
			}
		}
		if err := f.Remove(rs); err != nil {
			t.Fatal(err)
		}
	}
}

// contents returns the declarations, rules and elements that the kernel has.
func contents(t *testing.T, nl *netlink.Nftables, rs firewall.Ruleset) []string {
	t.Helper()
	var out []string
	for _, typ := range []uint16{unix.NFT_MSG_GETSET, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETRULE} {
		err := nl.Dump(typ, func(e *netlink.Encoder) {
			e.Text(unix.NFTA_TABLE_NAME, rs.Table)
		}, func() {}, func(attributes []byte) {
			out = append(out, object(t, typ, attributes))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	i := 0
	for _, set := range rs.Sets {
		intervals, err := nl.SetIntervals(rs.Table, set.Name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(set.Name, intervals))
	}
	for c := range rs.Chains { // the rules' texts, for messages
		for r := range rs.Chains[c].Rules {
			at := len(rs.Sets) + len(rs.Chains) + i
			if at < len(out) {
				out[at] = rs.Chains[c].Rules[r].String() + "\n" + out[at]
			}
			i++
		}
	}
	return out
}

// object returns a set, chain or rule as text, without handles and counts.
func object(t *testing.T, typ uint16, attributes []byte) string {
	t.Helper()
	var b strings.Builder
	for a, v := range netlink.Attributes(attributes) {
		switch {
		case typ == unix.NFT_MSG_GETRULE && a == unix.NFTA_RULE_EXPRESSIONS:
			for _, e := range netlink.Attributes(v) {
				var name string
				for a, v := range netlink.Attributes(e) {
					if a == unix.NFTA_EXPR_NAME {
						name = netlink.Text(v)
					}
				}
				if name == "counter" {
					e = nil
				}
				fmt.Fprintf(&b, "  %s %x\n", name, e)
			}
		case typ == unix.NFT_MSG_GETRULE && a == unix.NFTA_RULE_CHAIN,
			typ == unix.NFT_MSG_GETCHAIN && (a == unix.NFTA_CHAIN_NAME || a == unix.NFTA_CHAIN_TYPE):
			b.WriteString(netlink.Text(v) + "\n")
		case typ == unix.NFT_MSG_GETCHAIN && (a == unix.NFTA_CHAIN_HOOK || a == unix.NFTA_CHAIN_POLICY || a == netlink.AttrChainFlags),
			typ == unix.NFT_MSG_GETSET && a < netlink.AttrSetHandle: // later attributes depend on how the kernel stores the set
			fmt.Fprintf(&b, "  %d %x\n", a, v)
		}
	}
	return b.String()
}

func TestTranslate(t *testing.T) {
	for _, c := range []struct {
		rule firewall.Rule
		want []string
	}{
		{firewall.Rule{firewall.MarkIs{Mask: 0x60, Value: 0x40}}, []string{"*expr.Meta", "*expr.Bitwise", "*expr.Cmp"}},
		{firewall.Rule{firewall.SetMark{CT: true, Mask: 0x60, Value: 0x40}}, []string{"*expr.Ct", "*expr.Bitwise", "*expr.Ct"}},
		{firewall.Rule{firewall.Family{}, firewall.InSet{Set: "s"}}, []string{"*expr.Meta", "*expr.Cmp", "*expr.Payload", "*expr.Lookup"}},
		{
			firewall.Rule{firewall.ProtocolIs{Protocol: firewall.ProtocolTCP}, firewall.DestinationPort{Ports: firewall.PortRange{From: 1, To: 2}}},
			[]string{"*expr.Meta", "*expr.Cmp", "*expr.Payload", "*expr.Cmp", "*expr.Cmp"},
		},
		{firewall.Rule{firewall.Address{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}, []string{"*expr.Meta", "*expr.Cmp", "*expr.Payload", "*expr.Bitwise", "*expr.Cmp"}},
		{firewall.Rule{firewall.Counter{}, firewall.Masquerade{}}, []string{"*expr.Counter", "*expr.Masq"}},
	} {
		got, err := translate(c.rule)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, e := range got {
			kinds = append(kinds, fmt.Sprintf("%T", e))
		}
		if fmt.Sprint(kinds) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.rule, kinds, c.want)
		}
	}
	got, err := translate(firewall.Rule{firewall.SetMark{Mask: 0x60, Value: 0x40}})
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := got[1].(*expr.Bitwise); !ok || !bytes.Equal(b.Mask, host(0xffffff9f)) || !bytes.Equal(b.Xor, host(0x40)) {
		t.Errorf("SetMark: %+v", got[1])
	}
}

type unknown struct{}

func (unknown) String() string { return "unknown" }

func TestTranslateRefuses(t *testing.T) {
	for _, e := range []firewall.Expr{
		unknown{},
		firewall.Interface{},
		firewall.Interface{Name: "sixteenletters16"},
		firewall.Address{},
		firewall.ProtocolIs{Protocol: "sctp"},
		firewall.DestinationPort{Ports: firewall.PortRange{From: 1, To: 1}},
	} {
		if _, err := translate(firewall.Rule{e}); err == nil {
			t.Errorf("%T is accepted", e)
		}
	}
}
