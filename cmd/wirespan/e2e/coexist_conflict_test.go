package e2e

import (
	"net/netip"
	"strings"
	"syscall"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// conflict is an object of another program that the agent would need itself.
type conflict struct {
	host, theirs string
	condition    mesh.ConditionType
	names, mends string // settings that the report names, and that end the conflict

	node   *labNode
	before string
}

// scenarioCoexistConflicts checks agents whose numbers another program uses. They name
// the setting that avoids the conflict, remove nothing and send nothing, and work as
// soon as they are given other numbers.
func scenarioCoexistConflicts(l *lab) {
	hub := l.host("a")
	s := hub.site(1)
	a := hub.leader(s)
	token := a.found()
	all := []*conflict{
		{host: "b", theirs: "ip rule add from 10.99.0.0/16 lookup 99 priority 32500", condition: "ApplyFailed", names: "firewall.rulePriority", mends: "rulePriority: 32400"},
		{host: "c", theirs: "ip -6 rule add from fd99::/16 lookup 99 priority 32500", condition: "ApplyFailed", names: "firewall.rulePriority", mends: "rulePriority: 32600"},
		{host: "d", theirs: "ip route add 10.99.0.0/16 dev eth0 table 180", condition: "ApplyFailed", names: "firewall.routingTable", mends: "routingTable: 181"},
		{host: "e", theirs: "ip -6 route add fd99::/16 dev eth0 table 180", condition: "ApplyFailed", names: "firewall.routingTable", mends: "routingTable: 1800"},
		{host: "f", theirs: "nft add table inet wirespan ; add chain inet wirespan theirs", condition: "ApplyFailed", names: "firewall.table", mends: "table: mesh"},
		{host: "g", theirs: "ip rule add fwmark 0x40/0xc0 lookup 99 priority 99", condition: "Firewall", names: "firewall.mask", mends: "encryptedMark: 0x200, tunnelMark: 0x400, mask: 0x600"},
		{host: "h", theirs: "ip rule add lookup main priority 100", condition: mesh.ConditionHostDrops, names: "firewall.rulePriority", mends: "rulePriority: 99"},
	}
	for _, c := range all {
		h := l.host(c.host)
		h.mustExec(strings.Fields(c.theirs)...)
		c.node, c.before = h.node(""), h.steadyKernel()
		c.node.join(token)
	}
	for _, c := range all {
		c.shows(s)
		c.node.configure(settings("firewall: {" + c.mends + "}"))
		c.node.proc.end(l.T, syscall.SIGTERM)
		c.node.up()
	}
	for _, c := range all {
		l.allUp(a, c.node)
		c.node.leads("10.61.1.0/24", "a", mesh.PathTunnel)
		c.node.reaches(s.v4)
		c.node.reaches(s.v6)
		c.node.explains("10.61.1.2:80", firewall.PathTunnel, "a")
		c.node.calm()
		c.node.keepsOf(c.before)
	}
	all[0].node.precedesMain(a)
	for _, c := range all {
		c.node.mustCLI("down")
		c.node.proc.wait(l.T)
		c.node.untouched(c.before)
	}
}

// shows checks that the node reports the conflict and does nothing else.
func (c *conflict) shows(s *site) {
	c.node.Helper()
	c.node.condition(c.condition, c.names)
	c.node.keepsOf(c.before)
	if c.condition != "ApplyFailed" {
		return
	}
	if err := c.node.ping(s.v4, "-W", "0.5"); err == nil {
		c.node.Errorf("%s reaches %s without rules", c.host, s.v4)
	}
}

// precedesMain checks a default route of another program that is found before table main,
// which has the way to mesh addresses. The node names the rule that mends it.
func (n *labNode) precedesMain(peer *labNode) {
	n.Helper()
	subnet := netip.PrefixFrom(n.mustStatus().Node.Address, 64).Masked().String()
	n.ip("-6 route add default dev eth0 table 52")
	n.ip("-6 rule add lookup 52 priority 5270")
	rule := "rule add to " + subnet + " lookup main priority 1"
	n.condition(mesh.ConditionHostDrops, "mesh addresses", "ip -6 "+rule)
	n.ip("-6 " + rule)
	n.pings(peer)
	for _, undo := range []string{"rule del to " + subnet + " lookup main priority 1", "rule del priority 5270", "route flush table 52"} {
		n.ip("-6 " + undo)
	}
	n.calm()
}

// keepsOf checks that nothing is missing that the kernel had before.
func (h *labHost) keepsOf(before string) {
	h.Helper()
	if lost := removed(before, h.kernel()); lost != "" {
		h.Errorf("of what others set up on %s, this is gone:\n%s", h.name, lost)
	}
}
