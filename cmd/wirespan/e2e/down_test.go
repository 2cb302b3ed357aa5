package e2e

import (
	"os"
	"strings"
	"syscall"

	"github.com/wirespan/wirespan/mesh"
)

// scenarioDown checks that wirespan down, and nothing else, removes whatever a node has
// applied to its host's kernel. Settings of other programs are as before.
func scenarioDown(l *lab) {
	b, h := l.host("b"), l.host("a")
	peer := b.leader(b.site(2))
	s := h.site(1)
	own := "advertisedNetworks: " + s.networks()
	n := h.node("")
	h.crowd()
	before := h.steadyKernel()
	token := peer.found()
	for _, way := range []struct {
		name string
		then []string // the configurations of later runs
		end  syscall.Signal
	}{
		{"while the agent runs", nil, 0},
		{"after a kill", nil, syscall.SIGKILL},
		{"after a stop", nil, syscall.SIGTERM},
		{"after a kill, with other numbers", []string{settings(own, "firewall: {table: other, routingTable: 4000, rulePriority: 1000, encryptedMark: 0x100, tunnelMark: 0x200, mask: 0x300}")}, syscall.SIGKILL},
		{"after two changes of one number", []string{settings(own, "firewall: {routingTable: 4001}"), settings(own, "firewall: {rulePriority: 900}")}, syscall.SIGKILL},
		{"without the networks", []string{settings()}, syscall.SIGKILL},
		{"with another interface", []string{settings(own, "masquerade: true")}, syscall.SIGTERM},
		{"with another interface, while the agent runs", []string{settings(own)}, 0},
	} {
		l.Logf("down %s", way.name)
		n.configure(settings(own))
		n.joined(token, peer)
		for _, documents := range way.then {
			n.stops(syscall.SIGKILL)
			n.configure(documents)
			if strings.Contains(way.name, "interface") {
				n.flags[7] += "x"
			}
			n.joined(token, peer)
		}
		if way.end != 0 {
			running := n.kernel()
			n.stops(way.end)
			n.keepsItsRules(running)
		}
		n.mustCLI("down")
		if way.end == 0 {
			n.proc.wait(l.T)
		}
		n.untouched(before)
	}
	n.turnedOff(token, peer, own, before)
}

// crowd applies settings of other programs: sysctls that differ from the defaults, an
// nftables table, rules and routes.
func (h *labHost) crowd() {
	h.Helper()
	h.nft("table inet others { chain forward { type filter hook forward priority 0; ip saddr 192.0.2.1 drop; }; }\n")
	for _, args := range []string{
		"rule add pref 700 fwmark 0x8000/0x8000 lookup 700", "-6 rule add pref 700 fwmark 0x8000/0x8000 lookup 700",
		"route add unreachable 198.51.100.0/24", "-6 route add unreachable 2001:db8:99::/48 metric 77", "route add 203.0.113.0/24 via 10.90.0.254 table 700",
	} {
		h.ip(args)
	}
	err := h.inside(func() error {
		for name, value := range map[string]string{
			"ipv4/conf/all/rp_filter": "2", "ipv4/conf/eth0/rp_filter": "1", "ipv4/conf/lan0/forwarding": "1", "ipv6/conf/lan0/forwarding": "1",
		} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
}

// joined runs the agent until the peer is up and its network is routed.
func (n *labNode) joined(token string, peer *labNode) {
	n.Helper()
	n.join(token)
	n.allUp(n, peer)
	n.leads("10.61.2.0/24", peer.name, mesh.PathTunnel)
	n.calm()
}

// stops ends the agent by a signal.
func (n *labNode) stops(signal syscall.Signal) {
	n.Helper()
	n.proc.end(n.T, signal)
}

// keepsItsRules checks that only those rules and routes are missing that end with the
// interface.
func (n *labNode) keepsItsRules(running string) {
	n.Helper()
	for line := range strings.Lines(difference(running, n.kernel())) {
		if !strings.Contains(line, n.link()) {
			n.Errorf("ended with the agent: %s", line)
		}
	}
}

// turnedOff checks that an agent without routing removes what an earlier one with
// routing left, and that down does so after an agent with a netstack.
func (n *labNode) turnedOff(token string, peer *labNode, own, before string) {
	n.Helper()
	n.configure(settings(own))
	n.joined(token, peer)
	n.stops(syscall.SIGKILL)
	n.configure(settings("firewall: {enabled: false}"))
	n.join(token)
	n.allUp(n, peer)
	n.stops(syscall.SIGTERM)
	n.untouched(before)

	for _, running := range []bool{true, false} {
		n.configure(settings(own))
		n.joined(token, peer)
		n.stops(syscall.SIGKILL)
		rules := n.kernel()
		n.configure(settings("backend: netstack"))
		n.join(token)
		n.allUp(n, peer)
		if d := difference(rules, n.kernel()); d != "" {
			n.Errorf("a netstack changes the kernel:\n%s", d)
		}
		if !running {
			n.stops(syscall.SIGTERM)
		}
		n.mustCLI("down")
		n.proc.wait(n.T)
		n.untouched(before)
	}
}
