package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/state"
)

// booted moves the node to another host, whose kernel has no state of it, and names it
// after that host. The former host is disconnected.
func (n *labNode) booted(h *labHost) *labNode {
	n.Helper()
	n.ip("link set eth0 down")
	h.ip("-6 route add default via fd90::fe")
	again := *n
	again.labHost, again.flags = h, slices.Clone(n.flags)
	again.flags = append(again.flags, "--nodename", h.name, "--hostname", h.name)
	return &again
}

// restores runs wirespan firewall restore, which must succeed without output.
func (n *labNode) restores() {
	n.Helper()
	if out := n.mustCLI("firewall", "restore"); out != "" {
		n.Errorf("firewall restore says: %s", out)
	}
	out := n.mustExec("nft", "list", "table", "inet", "wirespan") + n.mustExec("ip", "-6", "rule") + n.mustExec("ip", "-6", "route")
	for _, part := range []string{"chain guard", "32500:", "unreachable "} {
		if !strings.Contains(out, part) {
			n.Errorf("after firewall restore, %q is missing:\n%s", part, out)
		}
	}
}

// scenarioBoot checks that the rules of the last run can be restored before the agent
// starts, and that the agent takes them over without a gap.
func scenarioBoot(l *lab) {
	l.must("ip", "-n", l.prefix+"switch", "address", "add", "fd90::fe/64", "dev", "br0", "nodad")
	b := l.host("b")
	s := b.site(2)
	peer, n := b.leader(s), l.host("a").node("")
	n.join(peer.found())
	l.allUp(n, peer)
	n.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	ula := peer.mustStatus().Node.Address
	subnet, _ := ula.Prefix(64) // an IPv6 address has enough bits
	if out := n.mustCLI("firewall", "restore"); !strings.Contains(out, "the agent runs") {
		l.Errorf("restore beside an agent: %s", out)
	}
	n.proc.end(l.T, syscall.SIGTERM)

	n = n.booted(l.host("r"))
	before := n.steadyKernel()
	n.restores()
	n.closed(ula, s.addresses()...)
	if out := n.mustCLI("down"); !strings.Contains(out, "No agent was running") {
		l.Errorf("down without an agent: %s", out)
	}
	n.untouched(before)
	if out := n.mustCLI("firewall", "restore"); !strings.Contains(out, "nothing to restore") {
		l.Errorf("restore after down: %s", out)
	}
	n.untouched(before)

	n.up()
	l.allUp(n, peer)
	n.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	n.proc.end(l.T, syscall.SIGKILL)
	n = n.booted(l.host("r2"))
	before = n.steadyKernel()
	n.restores()
	detector := l.detectLeaks([]netip.Prefix{subnet, netip.MustParsePrefix("10.61.2.0/24"), netip.MustParsePrefix("fd61:2::/64")}, n)
	traffic, at := n.sendsTo(append(s.addresses(), ula)...), s.sinks()
	traffic.goesOn(10)
	detector.clean("with restored rules")
	n.up()
	at.getsMore("the agent has taken over")
	traffic.goesOn(10)
	detector.clean("when the agent took over")
	n.proc.end(l.T, syscall.SIGKILL)
	n.restores() // changes nothing
	traffic.goesOn(10)
	detector.clean("with rules restored beside the last run's")
	n.mustCLI("down")
	n.untouched(before)
}

// scenarioBootDamaged checks that damage of the stored rules is reported, and that rules
// are then restored as the configuration implies them.
func scenarioBootDamaged(l *lab) {
	n := l.host("a").node("")
	n.found()
	eventually(l.T, within, func() error { _, err := os.Stat(n.path("firewall.json")); return err })
	n.proc.end(l.T, syscall.SIGKILL)
	n.wipe()
	rules := n.path("firewall.json")
	good, err := os.ReadFile(rules)
	if err != nil {
		l.Fatal(err)
	}
	for content, reason := range map[string]string{
		"{": "could not be used", `{"Table": "no name"}`: "could not be used", strings.Repeat(" ", 17<<20): "too large",
		strings.Replace(string(good), `"MTU":`, `"MTU":99`, 1): "could not be used",
	} {
		n.write(rules, content)
		out := n.mustCLI("firewall", "restore") + n.mustExec("nft", "list", "ruleset")
		if !strings.Contains(out, reason) || !strings.Contains(out, "chain guard") {
			l.Errorf("with damaged rules (%s):\n%s", reason, out)
		}
		n.wipe()
	}
	n.write(rules, string(good))
	n.as = []string{"setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"}
	n.refuses("CAP_NET_ADMIN", "firewall", "restore")
	n.as = nil
	if out := n.mustExec("nft", "list", "ruleset"); out != "" {
		l.Errorf("restoring was refused, and the kernel has\n%s", out)
	}
	n.downFails()
	n.downAfterDamage(string(good))
	n.upAfterDamage(string(good))

	n.write(rules, string(good))
	n.write(n.path("pins.json"), "{")
	n.write(n.path("node-identity.yaml"), "{")
	n.write(n.path("forwarding.json"), "{")
	n.restores()
	n.wipe()
	n.write(n.path("config.yaml"), "kind: Nonsense\napiVersion: 7\n")
	n.refuses("the firewall is restored, but: ", "firewall", "restore")
	if out := n.mustExec("nft", "list", "ruleset"); !strings.Contains(out, "chain guard") {
		l.Errorf("a mistake in the configuration has kept rules from being restored:\n%s", out)
	}
}

// derived are the files that the agent can do without.
var derived = []string{"firewall.json", "pins.json", "forwarding.json"}

// damage damages all of them.
func (n *labNode) damage() {
	n.Helper()
	for _, file := range derived {
		n.write(n.path(file), "{")
	}
}

// downAfterDamage checks that down removes all rules, whatever has become of the files.
func (n *labNode) downAfterDamage(rules string) {
	n.Helper()
	n.wipe()
	before := n.steadyKernel()
	n.write(n.path("firewall.json"), rules)
	n.restores()
	n.damage()
	if out := n.mustCLI("down"); !strings.Contains(out, "could not be used") {
		n.Errorf("down with damaged files says: %s", out)
	}
	if after := n.kernel(); after != before {
		n.Errorf("down with damaged files leaves\n%s\nof\n%s", after, before)
	}
}

// upAfterDamage checks that damaged files don't stop the agent, which says what is lost.
func (n *labNode) upAfterDamage(rules string) {
	n.Helper()
	n.write(n.path("firewall.json"), rules)
	n.restores()
	n.damage()
	n.up()
	eventually(n.T, within, func() error {
		s, err := n.status()
		if err != nil {
			return err
		}
		for _, file := range derived {
			if !slices.ContainsFunc(s.Conditions, func(c agent.ConditionView) bool { return c.Type == state.ConditionDamaged && c.Subject == file }) {
				return fmt.Errorf("no condition tells of damage to %s: %+v", file, s.Conditions)
			}
		}
		return nil
	})
	n.proc.end(n.T, syscall.SIGKILL)
	n.wipe()
}

// downFails checks that rules that cannot be removed are not forgotten, and that rules
// are removed even if the node cannot leave the discovery service.
func (n *labNode) downFails() {
	n.Helper()
	n.restores()
	n.as = []string{"setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"}
	n.refuses("CAP_NET_ADMIN", "down")
	n.as = nil
	var taken net.Listener
	err := n.inside(func() (err error) {
		taken, err = net.Listen("tcp", ":51820") // the port of the founder's discovery server
		return err
	})
	if err != nil {
		n.Fatal(err)
	}
	defer taken.Close()
	n.refuses("address already in use", "down")
	if out := n.mustExec("nft", "list", "ruleset"); out != "" {
		n.Errorf("down could not reach the discovery server, and left in the kernel\n%s", out)
	}
}

// write writes a file of the node.
func (n *labNode) write(path, content string) {
	n.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		n.Fatal(err)
	}
}
