package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// changeTime is how long a change of the secret takes when all nodes follow at once.
const changeTime = time.Minute

// scenarioExpel expels a node from a mesh with traffic. No ping among the others is lost,
// a node that was not there comes back by itself, and the expelled node is of no mesh any
// more: with its own identity, with a copy of its state from before, or as a new node.
func scenarioExpel(l *lab) {
	a, b, c, d, e := l.host("a").node(""), l.host("b").node(""), l.host("c").node(""), l.host("d").node(""), l.host("e").node("")
	all := []*labNode{a, b, c, d, e}
	token := a.found()
	for _, n := range all[1:] {
		n.join(token)
	}
	l.allUp(all...)
	secret := a.clusterSecret()
	before := e.copyState("before")
	d.mustCLI("down")
	d.proc.wait(l.T)
	var flows []*pinging
	for _, pair := range [][2]*labNode{{a, b}, {b, c}, {c, a}} {
		flows = append(flows, pair[0].keepsPinging(pair[1]))
	}
	if out, err := b.cli("expel", "e"); err == nil || !strings.Contains(out, "only the founder of a mesh decides") {
		l.Errorf("a member expels: %s, %v", out, err)
	}
	a.mustCLI("expel", "e")
	a.changesSecret(secret, a, b, c)
	eventually(l.T, within, func() error { return e.has("Expelled", "this node was expelled from the mesh") })
	for _, n := range []*labNode{a, b, c} {
		eventually(l.T, within, func() error { return n.lacks("e") })
	}
	d.up()
	l.allUp(a, b, c, d)
	for _, f := range flows {
		f.stop()
	}
	b.restart() // its sessions are new ones, with the new preshared key
	c.pings(d)
	l.allUp(a, b, c, d)

	e.proc.end(l.T, syscall.SIGKILL)
	heard := e.sniff("eth0", func(p *sniffed) bool { return !p.out && p.from.Port() == 51820 && p.protocol == unix.IPPROTO_UDP })
	for _, stale := range []struct{ what, keep, refusal string }{
		{"the state of before", "", "was expelled from the mesh"}, {"a new node id", "cluster.yaml", "does not know this node as a member"},
	} {
		e.restoreState(before, stale.keep)
		e.up()
		eventually(l.T, within, func() error { return e.has("MembershipUnclear", stale.refusal) })
		for _, n := range []*labNode{a, b, c, d} {
			if s := n.mustStatus(); len(s.Peers) != 3 {
				l.Errorf("%s: %s has the peers %+v", stale.what, n.name, s.Peers)
			}
		}
		if s := e.mustStatus(); len(s.Peers) > 0 && s.Peers[0].State == mesh.PeerStateUp {
			l.Errorf("%s: it has a session with %+v", stale.what, s.Peers[0])
		}
		e.proc.end(l.T, syscall.SIGKILL)
	}
	for _, p := range heard.stop() {
		if !p.isSTUN() { // which anybody gets
			l.Errorf("the expelled node got a datagram: %v", &p)
		}
	}
	for _, n := range []*labNode{a, b, c, d} {
		if n.clusterSecret() == secret {
			l.Errorf("%s has the old secret", n.name)
		}
	}
	l.allUp(a, b, c, d)
	e.restoreState(before, "")
	e.join(a.mustCLI("token"))
	eventually(l.T, within, func() error { return e.has("MembershipUnclear", "this node was expelled from the mesh") })
}

// changesSecret waits until the change to another secret is over at all these nodes.
func (n *labNode) changesSecret(former string, nodes ...*labNode) {
	n.Helper()
	for _, other := range nodes {
		eventually(n.T, changeTime, func() error {
			if state := other.clusterState(); strings.Contains(state, "next") || strings.Contains(state, former) {
				return fmt.Errorf("%s has not changed its secret: %s", other.name, state)
			}
			return nil
		})
	}
}

// clusterSecret returns the secret that the node has.
func (n *labNode) clusterSecret() string {
	n.Helper()
	data, err := os.ReadFile(n.path("cluster.yaml"))
	if err != nil {
		n.Fatal(err)
	}
	return regexp.MustCompile(`clusterSecret: (\S+)`).FindStringSubmatch(string(data))[1]
}

// copyState copies the state directory and returns the copy.
func (n *labNode) copyState(name string) (copied string) {
	n.Helper()
	copied = n.home + "." + name
	if out, err := exec.Command("cp", "-a", n.home, copied).CombinedOutput(); err != nil {
		n.Fatalf("%v: %s", err, out)
	}
	return copied
}

// restoreState replaces the state directory by a copy or, if keep is a file's name, by that
// file of it.
func (n *labNode) restoreState(copied, keep string) {
	n.Helper()
	script := `for f in "$1"/*.yaml "$1"/*.json "$1"/*.cache "$1"/sequence; do case "$f" in */config.yaml) ;; *) rm -f "$f";; esac; done
cp -a "$2"/${3:-.} "$1"/`
	if out, err := exec.Command("sh", "-c", script, "sh", n.home, copied, keep).CombinedOutput(); err != nil {
		n.Fatalf("%v: %s", err, out)
	}
}

// has returns an error unless the node shows a condition with these words.
func (n *labNode) has(typ mesh.ConditionType, words string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	for _, c := range s.Conditions {
		if c.Type == typ && strings.Contains(c.Message, words) {
			return nil
		}
	}
	return fmt.Errorf("%s does not show %s %q: %+v", n.name, typ, words, s.Conditions)
}

// pinging is a ping that runs.
type pinging struct {
	from, to *labNode
	proc     *labProcess
}

// keepsPinging sends 50 pings a second until stop.
func (n *labNode) keepsPinging(to *labNode) *pinging {
	n.Helper()
	address := to.mustStatus().Node.Address.String()
	return &pinging{from: n, to: to, proc: n.spawn(n.name+"-pings-"+to.name, "ping", "-n", "-q", "-i", "0.02", "-W", "10", address)}
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// end ends the ping and returns how many were sent, and how many of them were lost.
func (p *pinging) end() (sent, lost int) {
	p.from.Helper()
	p.proc.end(p.from.T, syscall.SIGINT)
	found := pingSummary.FindStringSubmatch(tail(p.proc.log, 5))
	if found == nil || found[1] == "0" {
		p.from.Fatalf("ping from %s to %s: %s", p.from.name, p.to.name, tail(p.proc.log, 5))
	}
	p.from.Logf("ping from %s to %s: %s sent, %s received", p.from.name, p.to.name, found[1], found[2])
	sent, err := strconv.Atoi(found[1])
	received, err2 := strconv.Atoi(found[2])
	if err := errors.Join(err, err2); err != nil {
		p.from.Fatal(err)
	}
	return sent, sent - received
}

// stop ends the ping and checks that nothing was lost.
func (p *pinging) stop() {
	p.from.Helper()
	if sent, lost := p.end(); lost > 1 { // the last may be under way
		p.from.Errorf("ping from %s to %s: %d of %d were lost", p.from.name, p.to.name, lost, sent)
	}
}

// scenarioExpelKilled kills the founder ten times while it changes the secret, at moments
// that differ. In the end all nodes have the same secret, and the expelled node is out.
func scenarioExpelKilled(l *lab) {
	a, b, c, d := l.host("a").node(""), l.host("b").node(""), l.host("c").node(""), l.host("d").node("")
	token := a.found()
	for _, n := range []*labNode{b, c, d} {
		n.join(token)
	}
	l.allUp(a, b, c, d)
	flow := b.keepsPinging(c)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for i := range 10 {
		args := []string{"secret", "rotate"}
		if i == 3 {
			a.mustCLI("expel", "d")
		}
		cmd := a.spawn("a-decides", a.argv(args...)...)
		wait := time.Duration(random.Int64N(int64(100 * time.Millisecond)))
		if i%2 == 1 {
			wait *= 20
		}
		time.Sleep(wait)
		l.Logf("kill %d: %s after the command", i, wait)
		a.proc.end(l.T, syscall.SIGKILL)
		<-cmd.exited
		a.up()
		eventually(l.T, within, func() error { _, err := a.status(); return err })
	}
	eventually(l.T, 3*changeTime, func() error {
		want := a.clusterState()
		for _, n := range []*labNode{a, b, c} {
			if got := n.clusterState(); got != want || strings.Contains(got, "next") {
				return fmt.Errorf("%s has %s, a %s", n.name, got, want)
			}
		}
		return nil
	})
	l.allUp(a, b, c)
	flow.stop()
	for _, n := range []*labNode{a, b, c} {
		if err := n.lacks("d"); err != nil {
			l.Error(err)
		}
	}
	if err := d.has("Expelled", "this node was expelled"); err != nil {
		l.Error(err)
	}
	b.restart()
	l.allUp(a, b, c)
}

// clusterState returns the secrets in the state directory and their numbers.
func (n *labNode) clusterState() string {
	n.Helper()
	data, err := os.ReadFile(n.path("cluster.yaml"))
	if err != nil {
		n.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`(?m)^(clusterSecret|secretNumber|nextSecret|again): .*$`).FindAllString(string(data), -1), " ")
}
