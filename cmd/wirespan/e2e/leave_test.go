package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

// scenarioLeave checks that leaving deletes the node at all others, and that stopping
// does not.
func scenarioLeave(l *lab) {
	a, b, c, d := l.host("a").node(""), l.host("b").node(""), l.host("c").node(""), l.host("d").node("")
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)

	c.mustCLI("down")
	c.proc.wait(l.T)
	if code := c.proc.cmd.ProcessState.ExitCode(); code != 0 {
		l.Errorf("after down, the agent ended with %d", code)
	}
	for _, n := range []*labNode{a, b} {
		took := eventually(l.T, 10*time.Second, func() error { return n.lacks("c") })
		l.Logf("%s dropped c within %s", n.name, took.Round(time.Millisecond))
	}
	c.hasNoLink()

	id := b.mustStatus().Node.ID
	if code := b.proc.exitCode(l.T, syscall.SIGTERM); code != 0 {
		l.Errorf("on SIGTERM, the agent ended with %d", code)
	}
	b.hasNoLink()
	d.join(token)
	eventually(l.T, 15*time.Second, func() error { // d can learn of b from the server only
		found, err := resources[labAffiliate](d, "affiliates")
		if err == nil && found[id].KubeSpan == nil {
			err = fmt.Errorf("d has not learned of b, which has stopped but not left")
		}
		return err
	})
	if out := b.mustCLI("down"); !strings.Contains(out, "No agent was running") {
		l.Errorf("down without an agent: %s", out)
	}
	for _, n := range []*labNode{a, d} {
		eventually(l.T, 10*time.Second, func() error { return n.lacks("b") })
	}

	if code := a.proc.exitCode(l.T, syscall.SIGTERM); code != 0 {
		l.Errorf("on SIGTERM, the founder ended with %d", code)
	}
	a.mustCLI("down") // it runs its own discovery server for that
	a.up()
	eventually(l.T, 20*time.Second, func() error { return d.sees("a") })
}

// hasNoLink checks that the node's interface and wg(8) socket are gone.
func (n *labNode) hasNoLink() {
	n.Helper()
	if out, err := n.exec("ip", "link", "show", n.link()); err == nil {
		n.Errorf("%s still has its link:\n%s", n.name, out)
	}
	if out, err := n.exec("wg", "show", n.link()); err == nil {
		n.Errorf("%s still answers wg(8):\n%s", n.name, out)
	}
}

// scenarioReload moves running nodes to another cluster.
func scenarioReload(l *lab) {
	server := l.host("d").discovery()
	server.start()
	one, two := server.newCluster(), server.newCluster()
	a, b, c := l.host("a").node(one), l.host("b").node(one), l.host("c").node(two)
	for _, n := range []*labNode{a, b, c} {
		n.up()
	}
	l.allUp(a, b)
	before := b.mustStatus()

	b.configure(two)
	if err := b.proc.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		l.Fatal(err)
	}
	l.Logf("b has moved %s after SIGHUP", l.allUp(b, c).Round(time.Millisecond))
	eventually(l.T, 10*time.Second, func() error { return a.lacks("b") })
	after := b.mustStatus()
	if after.Node.PublicKey != before.Node.PublicKey || after.Node.ID != before.Node.ID {
		l.Errorf("b became another node: %+v, was %+v", after.Node, before.Node)
	}
	if after.Cluster == before.Cluster || after.Node.Address == before.Node.Address {
		l.Errorf("b kept cluster %s and address %s", after.Cluster, after.Node.Address)
	}
	if out := b.mustExec("ip", "-6", "address", "show", "dev", b.link()); strings.Contains(out, before.Node.Address.String()) {
		l.Errorf("b still has its former address:\n%s", out)
	}
	b.pings(c)
	c.pings(b)

	a.configure("kind: Nonsense\n")
	if out, err := a.cli("reload"); err == nil {
		l.Errorf("reload of a damaged configuration succeeds: %s", out)
	}
	a.configure(two)
	if out := a.mustCLI("reload"); !strings.Contains(out, "reloaded") {
		l.Errorf("reload: %s", out)
	}
	l.allUp(a, b, c)
	a.pings(b)
}
