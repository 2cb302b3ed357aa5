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

// closedForward is a firewall written by hand.
const closedForward = `table inet filter {
	chain forward { type filter hook forward priority filter; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		iifname "lan0" oifname "eth0" accept
	}
}`

// legacyRules are rules that nftables do not show.
const legacyRules = "iptables-legacy -P FORWARD DROP; iptables-legacy -A FORWARD -i docker0 -j ACCEPT"

// Rules of other programs as iptables-save shows them.
const (
	docker28Rules = `*filter
:INPUT ACCEPT
:FORWARD DROP
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
`
	docker20Rules = `*filter
:FORWARD DROP
:DOCKER -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
`
	ufwRules = `*filter
:FORWARD DROP
:ufw-after-forward -
:ufw-after-logging-forward -
:ufw-before-forward -
:ufw-before-logging-forward -
:ufw-reject-forward -
:ufw-track-forward -
:ufw-user-forward -
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-after-logging-forward
-A FORWARD -j ufw-reject-forward
-A FORWARD -j ufw-track-forward
-A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
COMMIT
`
)

// firewalldForward is what firewalld forwards by, and firewalldOpened what becomes of it by
// the commands that the condition names: both as firewalld 1.3 writes them.
const (
	firewalldForward = `table inet firewalld {
	chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24 } reject with icmpv6 addr-unreachable
		jump filter_FORWARD_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD_ZONES { iifname "lan0" goto filter_FWD_public
		goto filter_FWD_public
	}
	chain filter_FORWARD_POLICIES_pre {
	}
	chain filter_FWD_public { jump filter_FORWARD_POLICIES_pre
		reject with icmpx admin-prohibited
	}
	chain filter_FWD_trusted { jump filter_FORWARD_POLICIES_pre
		accept
	}
	chain filter_FWD_policy_to-mesh { accept
	}
}`
	firewalldOpened = `nft insert rule inet firewalld filter_FORWARD_ZONES iifname "$1" goto filter_FWD_trusted
nft add rule inet firewalld filter_FORWARD_POLICIES_pre oifname "$1" jump filter_FWD_policy_to-mesh`
	// ufwOpened does what ufw's command does to the rules.
	ufwOpened = `ufw() { case $3 in in) side=-i;; out) side=-o;; esac; iptables-nft -A ufw-user-forward $side "$5" -j ACCEPT; }; `
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
	// The kernel's own check, as it is with wg-quick(8) beside.
	a.mustExec("sysctl", "-qw", "net.ipv4.conf.all.src_valid_mark=1", "net.ipv4.conf.lan0.rp_filter=1")
	a.mustCLI("reload")
	a.condition(mesh.ConditionHostDrops, "rp_filter of lan0", "src_valid_mark")
	if s1.ping(s2.v4) == nil {
		l.Error("the kernel does not drop what the condition says")
	}
	a.mustExec("sh", "-c", a.advised("rp_filter of lan0"))
	a.mustCLI("reload")
	a.calm()
	s1.reaches(s2.v4)
}

// addressIndex returns the place of a family in the addresses of a site.
func addressIndex(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// scenarioForwardDropped checks a gateway whose other programs forward nothing for
// others. It names the chain and the commands, which mend it for both directions.
func scenarioForwardDropped(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	s1, s2 := ha.site(1), hb.site(2)
	a, b := ha.leader(s1), hb.leader(s2)
	s1.repeats()
	s2.repeats()
	b.join(a.found())
	l.allUp(a, b)
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	s2.dialsEcho(s1.v4)
	for _, tc := range []struct{ rules, chain, insert string }{
		{docker28Rules, "ip filter FORWARD", "iptables-nft -t filter -I DOCKER-USER"},
		{docker20Rules, "ip filter FORWARD", "iptables-nft -t filter -I DOCKER-USER"},
		{ufwRules, "ip filter FORWARD", "ufw route allow"},
		{closedForward, "inet filter forward", "nft insert rule inet filter forward"},
		{firewalldForward, "inet firewalld filter_FORWARD", "firewall-cmd"},
		{legacyRules, "iptables-legacy FORWARD", "iptables-legacy -I FORWARD"},
	} {
		if tc.rules == legacyRules {
			a.mustExec("sh", "-c", legacyRules)
		} else if strings.HasPrefix(tc.rules, "*") {
			a.mustExec("sh", "-c", "iptables-nft-restore <<'.'\n"+tc.rules+".\n")
		} else {
			a.nft(tc.rules)
		}
		a.mustCLI("reload")
		a.condition(mesh.ConditionHostDrops, tc.chain, tc.insert)
		_ = s2.refused(s1.v4)
		_ = s1.refused(s2.v4)
		if tc.rules == legacyRules {
			a.explains(s1.v4.String(), firewall.PathBypass, "", "--from", s2.v4.String()) // another rule may accept it
		} else {
			a.blames(s1.v4.String(), tc.chain, "--from", s2.v4.String())
		}
		if tc.rules == firewalldForward {
			a.mustExec("sh", "-c", firewalldOpened, "sh", a.link())
		} else {
			a.mustExec("sh", "-c", ufwOpened+a.advised(tc.chain))
		}
		a.mustCLI("reload")
		a.calm()
		s2.says(s2.dialsEcho(s1.v4), "hello")
		s1.says(s1.dialsEcho(s2.v4), "hello")
		a.explains(s1.v4.String(), firewall.PathBypass, "", "--from", s2.v4.String())
		if tc.rules == legacyRules {
			a.mustExec("sh", "-c", "iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F")
			continue
		}
		a.mustExec("sh", "-c", "nft delete table "+tc.chain[:strings.LastIndexByte(tc.chain, ' ')])
	}
}

// advised returns the commands that a condition about a chain names.
func (n *labNode) advised(chain string) string {
	n.Helper()
	for _, c := range n.mustStatus().Conditions {
		if c.Type == mesh.ConditionHostDrops && c.Subject == chain {
			_, commands, _ := strings.Cut(c.Message, "; run: ")
			commands, _, _ = strings.Cut(commands, " (")
			return commands
		}
	}
	n.Fatalf("no condition about %s", chain)
	return ""
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
