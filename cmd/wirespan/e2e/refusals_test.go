package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// scenarioRefused checks that an agent without privileges or without nftables says what it
// cannot do and works without them, and that it leaves nothing.
func scenarioRefused(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node("").unprivileged(), l.host("c").node("")
	hosts := []*labNode{b, c}
	var before []string
	for _, n := range hosts {
		before = append(before, n.steadyKernel())
	}
	token := a.found()
	b.refuses("CAP_NET_ADMIN", "up", "--backend", "tun", "--join", b.keep(token))
	program, err := exec.LookPath(nonftProgram)
	if err != nil {
		l.Fatal(err)
	}
	c.as = []string{program}
	c.configure(settings("ingress: {defaultAction: block}"))
	c.refuses("the ingress rules cannot be enforced: the kernel has no nftables", "up", "--join", c.keep(token))
	c.configure("")
	for i, n := range hosts {
		if d := difference(before[i], n.kernel()); d != "" {
			l.Errorf("%s has refused to start, and left\n%s", n.name, d)
		}
	}

	b.join(token) // with the backend auto
	l.allUp(a, b)
	if s := b.mustStatus(); s.Backend != "netstack" || !strings.Contains(s.BackendReason, "CAP_NET_ADMIN") {
		l.Errorf("without privileges the backend is %s: %s", s.Backend, s.BackendReason)
	}
	b.untouched(before[0])
	if _, err := os.Stat(b.path("firewall.json")); err == nil {
		l.Error("an agent with a netstack has left rules for the next boot")
	}

	c.join(token) // with the backend auto
	l.allUp(a, c)
	if s := c.mustStatus(); s.Backend != "tun" {
		l.Errorf("without nftables the backend is %s: %s", s.Backend, s.BackendReason)
	}
	c.condition(mesh.ConditionKernelLacks, "nf_tables")
	c.pings(a)
	c.explains(a.mustStatus().Node.Address.String(), firewall.PathTunnel, a.name)
	c.proc.end(l.T, syscall.SIGTERM)
	if !strings.Contains(c.kernel(), "unreachable") {
		l.Error("without nftables and without its agent, nothing refuses what belongs into the tunnel")
	}

	c.configure(settings("firewall: {enabled: false}"))
	c.join(token)
	l.allUp(a, c)
	c.pings(a)
	c.proc.end(l.T, syscall.SIGTERM)
	c.untouched(before[1])
	c.configure(settings("backend: netstack"))
	c.join(token)
	l.allUp(a, c)
	c.mustCLI("down")
}

// badSettings lists mistakes, each with words of the error about it. The error names the
// last line.
var badSettings = [][2]string{
	{"advertisedNetworks: [10.0.0.0/8, 10.1.0.0/16]", "10.1.0.0/16 is inside 10.0.0.0/8"},
	{"advertisedNetworks: [10.1.0.0/16, 10.1.0.0/16]", "duplicate network 10.1.0.0/16"},
	{"advertisedNetworks: [10.1.0.1/16]", "10.1.0.1/16"},
	{"advertisedNetworks: [10.1.0.0/33]", "10.1.0.0/33"},
	{"advertisedNetworks: [fe80::/64]", "fe80::/64"},
	{"advertisedNetworks: [nonsense]", "nonsense"},
	{"advertisedNetworks: [" + strings.Repeat("10.1.0.0/16, ", 129) + "]", "at most 128"},
	{"masquerade: perhaps", "true or false"},
	{"siteNetworks: [0.0.0.0/0]", "too broad"},
	{"allowedNetworks: [exit]", "NODENAME=CIDR"},
	{"allowedNetworks: [b=0.0.0.0/0, b=0.0.0.0/0]", "duplicate b=0.0.0.0/0"},
	{"firewall: {table: add}", "keyword"},
	{"firewall: {routingTable: 254}", "254"},
	{"firewall: {rulePriority: 32767}", "32767"},
	{"firewall: {tunnelMark: 0x20}", "0x20"},
	{"firewall: {tunnelMark: 0x80}", "outside"},
	{"firewall: {tabel: x}", "tabel"},
	{"ingress: {defaultAction: maybe}", "maybe"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: sctp}}]}", "sctp"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: tcp}}]}", "ports"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: icmp, ports: [1]}}]}", "ports"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: tcp, ports: [0]}}]}", "port"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: tcp, ports: [9-1]}}]}", "9-1"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: tcp, ports: [1]}}, {name: a, portSelector: {protocol: tcp, ports: [2]}}]}", "a"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: tcp, ports: [1]}, ingress: [{subnet: 10.0.0.0/8}, {subnet: 10.1.0.0/16}]}]}", "10.1.0.0/16"},
	{"ingress: {rules: [{name: a, portSelector: {protocol: tcp, ports: [1]}, ingress: [{subnet: 10.1.0.0/16, except: 10.2.0.0/16}]}]}", "10.2.0.0/16"},
}

// scenarioBadInput checks that mistakes in a configuration are reported with file and
// line, and change nothing in the kernel.
func scenarioBadInput(l *lab) {
	h := l.host("a")
	good := settings("advertisedNetworks: [10.61.1.0/24]", "ingress: {defaultAction: block, rules: [{name: web, portSelector: {protocol: tcp, ports: [80]}, ingress: [{subnet: '::/0'}]}]}")
	n := h.node(good)
	n.found()
	eventually(l.T, within, func() error { // the interface is added after the table
		if out := n.kernel(); !strings.Contains(out, "default dev "+n.link()) {
			return fmt.Errorf("no route leads into the tunnel:\n%s", out)
		}
		return nil
	})
	rules := n.steadyKernel()
	second := *n
	second.home = n.home + "2"
	second.flags = slices.Concat(n.flags, []string{"--state-dir", second.home, "--control-socket", second.home + "/s"})
	for _, bad := range badSettings {
		n.configure(settings("logging: {level: info}", bad[0]))
		out, err := n.cli("reload")
		for command, out := range map[string]string{"reload": out, "up": second.failsToStart(exitFailure, "up")} {
			if err == nil || !strings.Contains(out, "config.yaml:4") || !strings.Contains(out, bad[1]) {
				l.Errorf("%s of %s, want the line and %q: %s", command, bad[0], bad[1], out)
			}
		}
	}
	n.configure(good) // both agents read it
	for _, flag := range []string{"--advertised-networks=10.0.0.0/8,10.1.0.0/16", "--firewall-mask=0", "--site-on-link=maybe", "--firewall-table=no,name"} {
		second.failsToStart(exitUsage, "up", flag)
	}
	if _, err := os.Stat(second.home); err == nil {
		l.Error("an agent that did not start has made a state directory")
	}
	if d := difference(rules, n.kernel()); d != "" {
		l.Errorf("bad configurations have changed the kernel:\n%s", d)
	}
	n.mustCLI("reload")
	if d := difference(rules, n.kernel()); d != "" {
		l.Errorf("a reload of the same configuration has changed the kernel:\n%s", d)
	}
}
