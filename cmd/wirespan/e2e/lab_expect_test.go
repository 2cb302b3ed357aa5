package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// within is how long the lab waits for something that takes no time on an idle machine.
const within = 20 * time.Second

// longWaits makes scenarios wait as long as in real operation: for an outage of a
// minute, and for a minute of idle time before memory is measured. Set
// WIRESPAN_NETNS_LONG=1.
var longWaits = os.Getenv("WIRESPAN_NETNS_LONG") != ""

// eventually polls until check returns nil, and returns how long that took. It fails the
// test when the time is over.
func eventually(t *testing.T, within time.Duration, check func() error) time.Duration {
	t.Helper()
	started := time.Now()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := check()
		took := time.Since(started)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("not within %s: %v", within, err)
		}
		<-poll.C
	}
}

// sees returns an error unless the node has the peer with state up.
func (n *labNode) sees(name string) error {
	p, err := n.peer(name)
	if err == nil && p.State != mesh.PeerStateUp {
		err = fmt.Errorf("%s sees %s %s", n.name, name, p.State)
	}
	return err
}

// lacks returns an error if the node has the peer.
func (n *labNode) lacks(name string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	for _, p := range s.Peers {
		if p.Label == name {
			return fmt.Errorf("%s still knows %s", n.name, name)
		}
	}
	return nil
}

// allUp waits until every node has all others with state up, and returns how long that
// took.
func (l *lab) allUp(nodes ...*labNode) time.Duration {
	l.Helper()
	return eventually(l.T, time.Minute, func() error {
		for _, n := range nodes {
			for _, other := range nodes {
				if n == other {
					continue
				}
				if err := n.sees(other.name); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// labRoute holds the fields of a route that scenarios read.
type labRoute struct {
	Peer string         `json:"peer"`
	Path mesh.Path      `json:"path"`
	Up   mesh.PeerState `json:"state"`
}

// leads waits until the node's route to a network has the given peer and path.
func (n *labNode) leads(network, peer string, path mesh.Path) {
	n.Helper()
	eventually(n.T, within, func() error {
		routes, err := resources[labRoute](n, "routes")
		if r := routes[network]; err == nil && (r.Peer != peer || r.Path != path) {
			err = fmt.Errorf("%s has %s as %+v, want peer %s and path %s; of all %v", n.name, network, r, peer, path, routes)
		}
		return err
	})
}

// explains checks the answer of wirespan explain for a target. The plan and the kernel
// must agree.
func (n *labNode) explains(target string, path firewall.Path, peer string, flags ...string) {
	n.Helper()
	out := n.mustCLI(append([]string{"explain", target, "-o", "json"}, flags...)...)
	var e agent.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		n.Fatalf("explain %s: %v\n%s", target, err, out)
	}
	if e.Plan.Path != path || e.Plan.Peer != peer || e.Kernel == nil || e.Kernel.Path != path || e.Difference != "" {
		n.Errorf("explain %s on %s, want %s to %q:\n%s", target, n.name, path, peer, out)
	}
}

// condition waits for a condition of a type whose subject and message contain all words.
func (n *labNode) condition(typ mesh.ConditionType, words ...string) {
	n.Helper()
	n.conditionIn(within, typ, words...)
}

// conditionIn is condition for one that takes its time.
func (n *labNode) conditionIn(limit time.Duration, typ mesh.ConditionType, words ...string) {
	n.Helper()
	eventually(n.T, limit, func() error {
		s, err := n.status()
		if err != nil {
			return errors.Join(err, n.proc.running())
		}
	next:
		for _, c := range s.Conditions {
			for _, w := range words {
				if c.Type != typ || !strings.Contains(c.Subject+" "+c.Message, w) {
					continue next
				}
			}
			return nil
		}
		return fmt.Errorf("%s has no condition %s with %q: %+v", n.name, typ, words, s.Conditions)
	})
}

// calm waits until the node has no condition except those of the given types.
func (n *labNode) calm(but ...mesh.ConditionType) {
	n.Helper()
	eventually(n.T, within, func() error {
		s, err := n.status()
		if err != nil {
			return err
		}
	next:
		for _, c := range s.Conditions {
			for _, typ := range but {
				if c.Type == typ {
					continue next
				}
			}
			return fmt.Errorf("conditions of %s: %+v", n.name, s.Conditions)
		}
		return nil
	})
}

// reaches pings an address until it answers.
func (h *labHost) reaches(a netip.Addr) {
	h.Helper()
	eventually(h.T, within, func() error { return h.ping(a) })
}

// ping sends two echo requests and returns an error if none is answered.
func (h *labHost) ping(a netip.Addr, flags ...string) error {
	_, err := h.exec(append([]string{"ping", "-c", "2", "-i", "0.1", "-W", "2", a.String()}, flags...)...)
	return err
}

// pings sends echo requests through the tunnel with ping(8). If both sides of a pair
// initiate at once, one side may not be able to decrypt for a while: WireGuard replaces
// the session only after 15 s without an answer.
func (n *labNode) pings(to *labNode) {
	n.Helper()
	if _, err := n.exec("ping", "-6", "-c", "3", "-i", "0.2", "-w", "25", to.mustStatus().Node.Address.String()); err != nil {
		n.describe()
		to.describe()
		n.Fatal(err)
	}
}

// describe logs the state of the node that may explain lost packets.
func (n *labNode) describe() {
	n.Helper()
	for _, argv := range [][]string{
		{"wg", "show", n.link()}, {"ip", "address"}, {"ip", "-6", "route"}, n.argv("status"), n.argv("get", "kubespanpeerspecs", "-o", "yaml"),
	} {
		out, _ := n.exec(argv...)
		n.Logf("%s: %s\n%s", n.name, filepath.Base(argv[0]), out)
	}
}

// refuses checks that a command ends with exit code 1 and a message that contains
// reason.
func (n *labNode) refuses(reason string, args ...string) {
	n.Helper()
	_ = os.Remove(filepath.Join(n.dir, n.name+"-refused.log")) // of an earlier call
	p := n.spawn(n.name+"-refused", append(n.as, n.argv(args...)...)...)
	p.wait(n.T)
	out := tail(p.log, 5)
	if code := p.cmd.ProcessState.ExitCode(); code != exitFailure || !strings.Contains(out, reason) || strings.Contains(out, "panic") {
		n.Errorf("%s: exit code %d, want 1 and %q: %s", args, code, reason, out)
	} else {
		n.Logf("%s", out)
	}
}

// failsToStart checks that a command ends with the exit code, and returns its output.
func (n *labNode) failsToStart(code int, args ...string) string {
	n.Helper()
	out, err := n.cli(args...)
	exit := -1
	if err != nil {
		_, _ = fmt.Sscanf(err.Error()[strings.Index(err.Error(), "exit status "):], "exit status %d", &exit)
	}
	if exit != code || strings.Contains(out, "panic") {
		n.Errorf("%v: exit code %d, want %d: %s", args, exit, code, out)
	}
	return out
}
