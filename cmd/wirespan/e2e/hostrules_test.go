package e2e

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// Checks of the way back as other programs write them, with the keys of the look-up.
const (
	firewalldRules = `table inet firewalld {
	chain filter_PREROUTING {
		type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type { 134, 135 } accept
		meta nfproto ipv6 fib %s oif missing drop
	}
}`
	nixosRules = `table inet nixos-fw {
	chain rpfilter {
		type filter hook prerouting priority mangle + 10; policy drop;
		meta nfproto ipv4 udp sport . udp dport { 67 . 68, 68 . 67 } accept
		icmpv6 type { 134, 135, 136 } accept
		fib %s oif exists accept
	}
}`
	rawRules = `table ip raw { chain PREROUTING { type filter hook prerouting priority raw; fib %s oif missing drop
	}
}`
)

// Rules as other programs forward with.
const (
	dockerForward = `table ip filter {
	chain DOCKER-USER { counter return
	}
	chain DOCKER-FORWARD { ct state related,established accept
		iifname "docker0" accept
	}
	chain FORWARD { type filter hook forward priority filter; policy drop; jump DOCKER-USER; jump DOCKER-FORWARD
	}
}`
	closedForward = `table inet filter {
	chain forward { type filter hook forward priority filter; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		iifname "lan0" oifname "eth0" accept
	}
}`
)

// scenarioReversePathChecks checks a node with a site whose other programs drop what
// does not come by the way back to its source. What the tunnel brings passes those that
// look at marks. The node names those that do not, with the line that mends it.
func scenarioReversePathChecks(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	s1, s2 := ha.site(1), hb.site(2)
	a, b := ha.leader(s1), hb.leader(s2)
	b.join(a.found())
	l.allUp(a, b)
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	b.leads("fd61:1::/64", "a", mesh.PathTunnel)
	for _, rules := range []string{firewalldRules, nixosRules, rawRules} {
		table := strings.Join(strings.Fields(rules)[1:3], " ")
		a.nft(fmt.Sprintf(rules, "saddr . mark . iif"))
		for _, at := range s1.addresses() {
			b.reaches(at)
			s2.reaches(at)
			a.explains(at.String(), firewall.PathBypass, "", "--from", s2.addresses()[addressIndex(at.Is6())].String())
		}
		b.pings(a)
		a.mustCLI("reload")
		a.calm()
		a.mustExec("nft", "delete table "+table)

		a.nft(fmt.Sprintf(rules, "saddr . iif"))
		a.mustCLI("reload")
		a.condition(mesh.ConditionHostDrops, table, "reverse path")
		at, from, err := s1.v4, s2.v4, error(nil)
		if rules == firewalldRules { // IPv6 alone, whose way back is by eth0
			at, from = s1.v6, b.outer6()
			err = b.ping(at, "-I", from.String())
		} else {
			err = s2.ping(at)
		}
		if err == nil {
			l.Errorf("%s does not drop what the condition says", table)
		}
		a.blames(at.String(), table, "--from", from.String())
		a.mustExec("nft", "delete table "+table)
		a.mustCLI("reload")
		a.calm()
	}
}

// addressIndex returns the place of a family in the addresses of a site.
func addressIndex(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// scenarioForwardDropped checks a gateway whose other programs forward nothing for
// others. It names the chain and the line, which mends it.
func scenarioForwardDropped(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	s1, s2 := ha.site(1), hb.site(2)
	a, b := ha.leader(s1), hb.leader(s2)
	b.join(a.found())
	l.allUp(a, b)
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	s2.reaches(s1.v4)
	for _, tc := range []struct{ rules, table, chain, insert string }{
		{dockerForward, "ip filter", "ip filter FORWARD", "ip filter DOCKER-USER"},
		{closedForward, "inet filter", "inet filter forward", "inet filter forward"},
	} {
		a.nft(tc.rules)
		a.mustCLI("reload")
		line := fmt.Sprintf("nft insert rule %s iifname %q accept", tc.insert, a.link())
		a.condition(mesh.ConditionHostDrops, tc.chain, "its policy is drop", line)
		if err := s2.ping(s1.v4); err == nil {
			l.Errorf("%s does not drop what the condition says", tc.chain)
		}
		a.blames(s1.v4.String(), tc.chain, "--from", s2.v4.String())
		a.mustExec("sh", "-c", line+`; nft insert rule `+tc.insert+` oifname '"`+a.link()+`"' accept`)
		s2.reaches(s1.v4)
		s1.reaches(s2.v4)
		a.mustCLI("reload")
		a.calm()
		a.mustExec("nft", "delete table "+tc.table)
		a.calm()
	}
}

// blames checks that explain names the chain of another program that drops a packet.
func (n *labNode) blames(target, chain string, flags ...string) {
	n.Helper()
	out, _ := n.cli(append([]string{"explain", target, "-o", "json"}, flags...)...) // 1: plan and kernel differ
	var e agent.Explanation
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&e); err != nil { // a message follows
		n.Fatalf("explain %s: %v\n%s", target, err, out)
	}
	if e.Kernel == nil || e.Kernel.Path != firewall.PathRefused || !strings.Contains(out, chain) || e.Difference == "" {
		n.Errorf("explain %s on %s, want it refused by %s:\n%s", target, n.name, chain, out)
	}
}
