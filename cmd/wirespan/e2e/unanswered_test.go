package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// scenarioSendRefused checks a node whose host refuses what it sends to a peer. The node
// names the peer, the address and the error, and says so no longer when that is over.
func scenarioSendRefused(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("")
	b.join(a.found())
	l.allUp(a, b)
	a.pings(b)
	a.calm()
	outer := fmt.Sprintf("ip daddr %s udp sport 51820", b.address)
	outer6 := fmt.Sprintf("ip6 daddr %s udp sport 51820", b.outer6())
	chain := "table inet deny { chain out { type filter hook output priority filter; " + outer + " %[1]s; " + outer6 + " %[1]s; }\n}"
	for _, tc := range []struct{ name, rules, says string }{
		{"drop", fmt.Sprintf(chain, "drop"), "operation not permitted"},
		{"reject", fmt.Sprintf(chain, "reject"), "operation not permitted"},
		{"prohibit", "", "permission denied"},
		{"unreachable", "", "no route to host"},
	} {
		if tc.rules != "" {
			a.nft(tc.rules)
		} else {
			a.ip(fmt.Sprintf("route add %s %s/32", tc.name, b.address))
			a.ip(fmt.Sprintf("route add %s %s/128", tc.name, b.outer6()))
		}
		eventually(l.T, within, func() error { // a change of routes may take a second
			if err := a.ping(b.mustStatus().Node.Address); err == nil {
				return fmt.Errorf("%s: the host refuses nothing", tc.name)
			}
			return nil
		})
		a.condition(mesh.ConditionSendRefused, "b at ", ":51820", tc.says)
		if out, _ := a.cli("explain", "b"); !strings.Contains(out, tc.says) {
			l.Errorf("%s: explain b:\n%s", tc.name, out)
		}
		if tc.rules != "" {
			a.mustExec("nft", "delete table inet deny")
		} else {
			a.ip(fmt.Sprintf("route del %s %s/32", tc.name, b.address))
			a.ip(fmt.Sprintf("route del %s %s/128", tc.name, b.outer6()))
		}
		a.reaches(b.mustStatus().Node.Address)
		a.calm()
	}
	a.blames("fd90::99", "net.ipv6.conf.all.forwarding", "--from", "b")
}

// scenarioNoAnswer checks nodes of which one gets no UDP. It says that none answers, and the
// others name it with its address, until UDP passes again.
func scenarioNoAnswer(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	b.nft("table inet path { chain in { type filter hook prerouting priority raw; udp dport 51820 drop; }\n}")
	at := b.mustStatus().Node.Address
	b.restart()
	for _, n := range []*labNode{a, c} {
		_ = n.ping(at) // else they wait until the session ends
	}
	b.conditionIn(time.Minute, mesh.ConditionNoAnswer, mesh.AllPeers, "none of 2 peers answers", "a at ", "c at ", "UDP port 51820")
	a.conditionIn(time.Minute, mesh.ConditionNoAnswer, "handshakes with b go out", ":51820")
	c.conditionIn(time.Minute, mesh.ConditionNoAnswer, "handshakes with b go out", ":51820")
	if out, _ := a.cli("explain", "b"); !strings.Contains(out, "does not answer") {
		l.Errorf("explain b:\n%s", out)
	}
	b.mustExec("nft", "delete table inet path")
	l.allUp(a, b, c)
	for _, n := range []*labNode{a, b, c} {
		n.calm()
	}
}

// scenarioNoJoinToken checks a founder whose only link is one that mostly connects containers:
// it says why it has no join token, until a default route shows that others reach it there.
func scenarioNoJoinToken(l *lab) {
	a := l.host("a").node("")
	a.ip("route del default")
	a.up()
	a.condition(mesh.ConditionNoJoinToken, "no default route leaves by eth0 (veth)", "--advertise-discovery")
	if _, err := os.Stat(a.path("join-token")); !errors.Is(err, os.ErrNotExist) {
		l.Errorf("there is a join token: %v", err)
	}
	a.refuses("eth0 (veth)", "token")
	if out := a.mustCLI("explain", a.mustStatus().Node.Address.String()); !strings.Contains(out, "other boxes cannot join") {
		l.Errorf("explain of the node itself:\n%s", out)
	}
	a.ip("route add default via 10.90.0.254")
	eventually(l.T, within, func() error {
		_, err := os.Stat(a.path("join-token"))
		return err
	})
	a.calm()
}
