package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// restartLimit is the time after a crash within which the peers are up again.
const restartLimit = 10 * time.Second

// scenarioKill checks that a killed agent comes back as the same node, as a member and
// as the founder with its discovery server.
func scenarioKill(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	for _, victim := range []*labNode{b, a} {
		before := victim.mustStatus().Node
		victim.restart()
		took := l.allUp(a, b, c)
		l.Logf("all up %s after %s was killed and started again", took.Round(time.Millisecond), victim.name)
		if took > restartLimit {
			l.Errorf("all up after %s, more than %s", took, restartLimit)
		}
		if after := victim.mustStatus().Node; after.ID != before.ID || after.PublicKey != before.PublicKey || after.Address != before.Address {
			l.Errorf("%s came back as another node: %+v, was %+v", victim.name, after, before)
		}
		victim.pings(c)
		c.pings(victim)
	}
}

// scenarioDiscoveryOutage checks that the mesh works without the discovery server, and
// that a node that was started meanwhile joins when the server is back.
func scenarioDiscoveryOutage(l *lab) {
	server := l.host("d").discovery()
	server.start()
	documents := server.newCluster()
	a, b, c := l.host("a").node(documents), l.host("b").node(documents), l.host("c").node(documents)
	a.up()
	b.up()
	l.allUp(a, b)
	a.pings(b)
	ping := a.keepsPinging(b)

	server.proc.end(l.T, syscall.SIGKILL)
	outage := 20 * time.Second
	if longWaits {
		outage = time.Minute
	}
	over := time.After(outage)
	eventually(l.T, 20*time.Second, func() error {
		s, err := a.status()
		if err == nil && s.Discovery[0].Connected {
			err = fmt.Errorf("a has not noticed the outage: %+v", s.Discovery)
		}
		return err
	})
	c.up()
	<-over
	for _, n := range []*labNode{a, b} {
		if s := n.mustStatus(); len(s.Peers) != 1 || s.Peers[0].State != mesh.PeerStateUp || !s.Ready {
			l.Errorf("%s after an outage of %s: ready %v, peers %+v", n.name, outage, s.Ready, s.Peers)
		}
	}
	server.start()
	l.Logf("all up %s after the server was back from %s of outage", l.allUp(a, b, c).Round(time.Millisecond), outage)
	ping.stop()
}

// scenarioDiscoverySnapshot checks that a restarted server still has nodes that do not
// publish themselves again, because they have stopped.
func scenarioDiscoverySnapshot(l *lab) {
	server := l.host("d").discovery()
	server.start()
	documents := server.newCluster()
	a, b, c := l.host("a").node(documents), l.host("b").node(documents), l.host("c").node(documents)
	a.up()
	b.up()
	l.allUp(a, b)
	stopped := map[string]bool{a.mustStatus().Node.ID: true, b.mustStatus().Node.ID: true}
	for _, p := range []*labProcess{a.proc, b.proc, server.proc} {
		if code := p.exitCode(l.T, syscall.SIGTERM); code != 0 {
			l.Errorf("%s: exit code %d", p.log, code)
		}
	}
	server.start()
	if out := server.mustExec("curl", "-sS", "http://"+server.address+":2122/metrics"); !strings.Contains(out, "\ndiscovery_state_affiliates 2\n") {
		l.Errorf("the restarted server does not count two affiliates:\n%s", out)
	}
	c.up()
	eventually(l.T, 15*time.Second, func() error {
		found, err := resources[labAffiliate](c, "affiliates")
		for id := range stopped {
			if err == nil && found[id].KubeSpan == nil {
				err = fmt.Errorf("c has not learned of %s", id)
			}
		}
		return err
	})
}

// announcing returns a configuration that announces the given endpoints and no others, and
// tries those of others one after another.
func announcing(endpoints ...string) string {
	return `apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
filters:
    endpoints: []
---
apiVersion: v1alpha1
kind: KubeSpanEndpointsConfig
extraAnnouncedEndpoints: [` + strings.Join(endpoints, ", ") + `]
---
apiVersion: v1alpha1
kind: WirespanConfig
endpointStrategy: cycle
`
}

// transition is a peer's state at its first observation.
type transition struct {
	state mesh.PeerState
	at    time.Time
}

// clockSlew is by how much the wall clock, in which states are reported, may differ from
// the monotonic clock, by which they change.
const clockSlew = 100 * time.Millisecond

// scenarioEndpointCycling checks the choice of endpoints: a announces a dead endpoint
// before a live one, b and c announce only dead ones. So b and c find a after the
// endpoint timeout, and never each other.
func scenarioEndpointCycling(l *lab) {
	const live = "10.90.0.1:51820"
	a := l.host("a").node(announcing("10.90.0.99:51820", live))
	b := l.host("b").node(announcing("10.90.0.98:51820"))
	c := l.host("c").node(announcing("10.90.0.97:51820"))
	token := a.found()
	b.join(token)
	c.join(token)
	eventually(l.T, 15*time.Second, func() error { _, err := b.status(); return err })

	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	seen := map[string][]transition{}
	err := b.control.WatchStatus(ctx, func(s *agent.Status) (bool, error) {
		for _, p := range s.Peers {
			list := seen[p.Label]
			if len(list) == 0 || list[len(list)-1].state != p.State {
				seen[p.Label] = append(list, transition{p.State, s.Updated})
			}
		}
		return len(seen["a"]) < 2 || len(seen["c"]) < 2, nil
	})
	if err != nil {
		l.Fatalf("watching b: %v; seen: %v", err, seen)
	}
	statuses := counters(b)
	for label, want := range map[string]mesh.PeerState{"a": mesh.PeerStateUp, "c": mesh.PeerStateDown} {
		list := seen[label]
		if list[0].state != mesh.PeerStateUnknown || list[1].state != want {
			l.Errorf("b saw %s as %v, want unknown, then %v", label, list, want)
		}
		took := list[1].at.Sub(list[0].at)
		l.Logf("b saw %s %v after %s", label, list[1].state, took.Round(time.Millisecond))
		if took < mesh.EndpointTimeout-clockSlew || took > mesh.EndpointTimeout+10*time.Second {
			l.Errorf("b saw %s %v after %s, the rule says %s", label, list[1].state, took, mesh.EndpointTimeout)
		}
	}
	if used := statuses[a.key()].LastUsedEndpoint; used != netip.MustParseAddrPort(live) {
		l.Errorf("b reaches a by %v, want %s", used, live)
	}
	a.pings(b)
}

// scenarioIdle measures the memory and the traffic of idle agents.
func scenarioIdle(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	idle := 10 * time.Second
	if longWaits {
		idle = time.Minute
	}
	before := a.received(b)
	<-time.After(idle)
	// Two probes for the path's MTU, two handshakes and some keepalives are fewer.
	if n := a.received(b) - before; n > 16<<10 {
		l.Errorf("%s received %d bytes of %s in %s of idleness", a.name, n, b.name, idle)
	}
	for _, n := range []*labNode{a, b} {
		kib := n.proc.resident(l.T)
		l.Logf("%s (founder: %v) uses %d KiB after %s of idleness, %d MB allowed", n.name, n == a, kib, idle, idleMegabytes)
		if kib > idleMegabytes*1000*1000/1024 {
			l.Errorf("%s uses %d KiB when idle", n.name, kib)
			if smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", n.proc.cmd.Process.Pid)); err == nil {
				l.Logf("%s", smaps)
			}
		}
	}
}

// received returns how many bytes came from a peer.
func (n *labNode) received(peer *labNode) uint64 {
	n.Helper()
	view, err := n.peer(peer.name)
	if err != nil {
		n.Fatal(err)
	}
	return view.ReceiveBytes
}

// idleMegabytes is the memory that an idle agent may use.
const idleMegabytes = 30
