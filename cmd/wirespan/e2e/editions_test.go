package e2e

import (
	"os"
	"strings"
	"syscall"
)

// scenarioEditions joins two full and two edge builds to one mesh. What the edge build
// lacks is refused with a sentence that says so.
func scenarioEditions(l *lab) {
	edge := buildWith(l.T, "edge,grpcnotrace")
	a, b := l.host("a").node(""), l.host("b").node("")
	c, d := l.host("c").node(""), l.host("d").node("")
	c.binary, d.binary = edge, edge

	d.refusesEdge("up") // it would be the founder
	token := a.found()
	for _, n := range []*labNode{b, c, d} {
		n.join(token)
	}
	l.allUp(a, b, c, d)
	c.pings(d)
	d.pings(a)
	b.pings(c)
	c.downloads(d.web(), c.dial)
	a.downloads(c.web(), a.dial)
	d.downloads(b.web(), d.dial)
	for _, n := range []*labNode{b, d} {
		if info, err := os.Stat(n.binary); err == nil {
			l.Logf("%s of %d KiB uses %d KiB", n.name, info.Size()>>10, n.proc.resident(l.T))
		}
	}
	c.restart()
	l.allUp(a, b, c, d)

	if out := c.mustExec(c.binary, "version"); !strings.Contains(out, "edge build") {
		l.Errorf("version: %q", out)
	}
	for _, args := range [][]string{
		{"bench", "local", "--quick"},
		{"demo"},
		{"discovery", "serve", "--listen", ":1"},
		{"exec", "true"},
		{"token"},
		{"expel", "--control-socket", c.path("s"), "b"},
		{"secret", "rotate"},
		{"authority", "export"},
	} {
		c.refusesEdge(args...)
	}
	if out := c.mustExec("curl", "-s", "--unix-socket", c.path("s"), "http://x/metrics"); !strings.Contains(out, "edge build") {
		l.Errorf("metrics: %q", out)
	}
	c.stops(syscall.SIGTERM)
	for _, flag := range []string{"--backend=netstack", "--proxy-listen=1080", "-L=8080:a:80", "-R=8080:127.0.0.1:80", "--dns-listen=5300"} {
		c.refusesEdge("up", flag)
	}
	c.up() // that it was refused has harmed nothing
	l.allUp(a, b, c, d)
}

// refusesEdge checks that a command fails since the build is for edge boxes.
func (n *labNode) refusesEdge(args ...string) {
	n.Helper()
	out, err := n.cli(args...)
	if err == nil || !strings.Contains(out, "edge build") {
		n.Errorf("wirespan %s: %v, %s", strings.Join(args, " "), err, out)
	}
}
