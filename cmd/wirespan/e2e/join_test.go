package e2e

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// scenarioJoin checks that a token for one box admits one box, which does not need the
// founder again to start, and that a box waits for a founder that does not run.
func scenarioJoin(l *lab) {
	a, b, c, d := l.host("a").node(""), l.host("b").node(""), l.host("c").node(""), l.host("d").node("")
	a.found()
	one := a.mustCLI("token")
	b.join(one)
	l.allUp(a, b)
	c.refuses("joining: the join token is used up: it was for 1", "up", "--join", c.keep(one))
	if _, err := os.Stat(c.path("cluster.yaml")); !errors.Is(err, fs.ErrNotExist) {
		l.Errorf("a refused box has a cluster: %v", err)
	}
	if out, err := b.cli("token"); err == nil || !strings.Contains(out, "only the founder of a mesh makes join tokens") {
		l.Errorf("wirespan token on a member: %s, %v", out, err)
	}

	two := a.mustCLI("token", "--uses", "2", "--expires", "10m")
	b.proc.end(l.T, syscall.SIGKILL)
	a.proc.end(l.T, syscall.SIGKILL)
	b.join(one) // by now a member
	eventually(l.T, 10*time.Second, func() error { _, err := b.status(); return err })
	c.join(two)
	eventually(l.T, 10*time.Second, func() error {
		if out := tail(c.proc.log, 5); !strings.Contains(out, "waiting for the founder's discovery server") {
			return errors.New(out)
		}
		return nil
	})
	a.up()
	d.join(two)
	l.allUp(a, b, c, d)
	c.pings(b)
}
