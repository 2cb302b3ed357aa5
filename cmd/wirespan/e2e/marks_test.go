package e2e

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// scenarioMarksRewritten checks a node on which other programs change marks. Encrypted
// packets never go round, and the node says who changes what. They reach the peer
// unless the mark of the tunnel itself is put on them at the very end.
func scenarioMarksRewritten(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("")
	b.join(a.found())
	l.allUp(a, b)
	a.pings(b)
	for _, tc := range []struct {
		name, rules string
		works       bool
		says        string
	}{
		{"restored from the connection", `
	chain out { type route hook output priority mangle; meta mark set ct mark; }
	chain in { type filter hook prerouting priority mangle; meta mark set ct mark; }`, true, "inet other out"},
		{"set to the tunnel's before routing", `chain out { type route hook output priority filter - 1; meta mark set 0x40; }`, true, "inet other out"},
		{"cleared behind a jump", `
	chain more { meta l4proto udp meta mark set 0; }
	chain out { type route hook output priority 10; jump more; }`, true, "inet other out"},
		{"set when the packet leaves", `chain last { type filter hook postrouting priority mangle; meta mark set 1; }`, true, "inet other last"},
		{"set to the tunnel's after all", `chain out { type route hook output priority 2000; udp sport 51820 meta mark set 0x40; }`, false, "back into the tunnel"},
	} {
		a.nft("table inet other {\n" + tc.rules + "\n}")
		before := a.transmitted()
		for _, to := range []netip.Addr{b.mustStatus().Node.Address, netip.MustParseAddr(b.address)} {
			_, err := a.exec("ping", "-c", "10", "-i", "0.05", "-W", "1", to.String())
			if (err == nil) != tc.works {
				l.Errorf("%s: ping to %s: %v", tc.name, to, err)
			}
		}
		if n := a.transmitted() - before; n > 400 {
			l.Errorf("%s: %d packets went into the tunnel for 20 pings", tc.name, n)
		}
		a.mustCLI("reload")
		a.condition(mesh.ConditionMarkRewritten, tc.says)
		a.mustExec("nft", "delete", "table", "inet", "other")
	}
	l.allUp(a, b)
	a.pings(b)
}

// scenarioRoutedBack checks nodes without routing rules of their own, on which a route
// leads to the peers' endpoints by the tunnel. No packet goes round.
func scenarioRoutedBack(l *lab) {
	a := l.host("a").node(settings("firewall: {enabled: false}"))
	b := l.host("b").node(settings("firewall: {enabled: false}"))
	b.join(a.found())
	l.allUp(a, b)
	a.pings(b)
	a.ip(fmt.Sprintf("route add %s/32 dev %s src %s", b.address, a.link(), a.address))
	a.ip(fmt.Sprintf("route add fd90::2/128 dev %s", a.link()))
	before := a.transmitted()
	// Once a packet was refused, the next ones leave from the address and by the link at
	// which the peer was last heard.
	_, _ = a.exec("ping", "-c", "10", "-i", "0.05", "-W", "1", b.mustStatus().Node.Address.String())
	if n := a.transmitted() - before; n > 400 {
		l.Errorf("%d packets went into the tunnel for 10 pings", n)
	}
	a.mustCLI("reload")
	a.condition(mesh.ConditionMarkRewritten, "back into the tunnel")
}

// transmitted returns how many packets the host has sent into the tunnel.
func (n *labNode) transmitted() int {
	n.Helper()
	text := n.mustExec("cat", "/sys/class/net/"+n.link()+"/statistics/tx_packets")
	count, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		n.Fatal(err)
	}
	return count
}
