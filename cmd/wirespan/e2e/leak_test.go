package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// scenarioLeak checks that no packet that belongs in the tunnel is seen on the switch,
// whatever happens to peers, the agent, its interface and its configuration. The same
// detector sees such packets when the rules are removed by hand.
func scenarioLeak(l *lab) {
	w := newLeakLab(l)
	w.begin()
	w.meshed("all up")
	w.tight("with all up")
	w.peersGo()
	w.agentGoes()
	w.changes()
	w.interfaceIsRenamed()
	w.interfaceGoes()
	w.flushed()
	w.unguarded()
}

// peersGo takes down the link of a peer, and stops the agent of another.
func (w *leakLab) peersGo() {
	w.Helper()
	w.c.ip("link set eth0 down")
	w.tight("with c's link down")
	w.c.ip("link set eth0 up")
	w.c.ip("address replace fd90::3/64 dev eth0 nodad")
	w.c.ip("-6 route replace default via fd90::fe")
	w.c.ip("route replace default via 10.90.0.254")
	if code := w.b.proc.exitCode(w.T, syscall.SIGTERM); code != 0 {
		w.Errorf("on SIGTERM, b ended with %d", code)
	}
	w.tight("with b's agent stopped")
	w.b.up()
	w.meshed("b is back")
	w.tight("with b back")
}

// agentGoes kills the agent. The agent also restarts while discovery is unreachable:
// then it knows no peer but has to keep its last rules.
func (w *leakLab) agentGoes() {
	w.Helper()
	w.a.proc.end(w.T, syscall.SIGKILL)
	w.tight("with a's agent killed")
	w.a.up()
	w.meshed("a is back")
	w.tight("with a back")

	w.server.proc.end(w.T, syscall.SIGKILL)
	w.a.proc.end(w.T, syscall.SIGKILL)
	w.a.damage() // what the kernel still routes is all that is known
	w.a.up()
	eventually(w.T, 20*time.Second, func() error {
		s, err := w.a.status()
		if err == nil && (len(s.Discovery) != 1 || s.Discovery[0].Error == "") {
			err = fmt.Errorf("discovery of a: %+v", s.Discovery)
		}
		return err
	})
	w.tight("without discovery")
	w.a.mustCLI("reload")
	w.tight("without discovery, after a reload")
	w.forgetful()
	w.meshed("discovery is back")
	w.tight("with discovery back")
}

// forgetful restarts the discovery server without its state. The server does not know b
// until b publishes itself again, which is delayed.
func (w *leakLab) forgetful() {
	w.Helper()
	if err := os.Remove(filepath.Join(w.dir, "discovery.snapshot")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Fatal(err)
	}
	b := w.b.proc.cmd.Process
	if err := b.Signal(syscall.SIGSTOP); err != nil {
		w.Fatal(err)
	}
	w.server.start()
	eventually(w.T, 30*time.Second, func() error {
		s, err := w.a.status()
		if err == nil && (!s.Discovery[0].Connected || len(s.Peers) != 1) {
			err = fmt.Errorf("a is not connected, or knows others than c: %+v, %+v", s.Discovery, s.Peers)
		}
		return err
	})
	w.tight("with a discovery server that does not know b yet")
	if err := b.Signal(syscall.SIGCONT); err != nil {
		w.Fatal(err)
	}
}

// leakForms returns configurations of a. Each of them gives another table or other
// rules.
func (w *leakLab) leakForms() []string {
	own := "advertisedNetworks: " + w.s1.networks()
	return []string{
		w.settings("", own),
		w.settings("", own, "ingress: {defaultAction: accept, rules: [{name: closed, portSelector: {ports: [22], protocol: tcp}, peers: [c]}]}"),
		w.settings("filters: {excludeAdvertisedNetworks: [10.61.9.0/24]}\n", own),
		w.settings("", own, "masquerade: true"),
		w.settings("allowDownPeerBypass: true\n", own),
		w.settings("", strings.Replace(own, "]", ", 10.61.8.0/24]", 1), "ingress: {defaultAction: block}"),
	}
}

// changes makes a hundred changes of the configuration, some of them of c's networks. A
// reload is accepted only when the last one has been applied.
func (w *leakLab) changes() {
	w.Helper()
	const all = 100
	started := time.Now()
	forms := w.leakForms()
	before := w.traffic[0].sent.Load()
	for _, t := range w.traffic {
		t.burst.Store(5)
		defer t.burst.Store(1)
	}
	for i := 1; i <= all; i++ {
		n := w.a
		if i%5 == 0 {
			n = w.c
			n.configure(w.settings("", leakNetworks(i/5)))
		} else {
			n.configure(forms[i%len(forms)])
		}
		if _, err := n.control.Reload(w.Context()); err != nil {
			w.Fatalf("change %d: %v", i, err)
		}
	}
	w.a.configure(forms[0])
	w.a.mustCLI("reload")
	w.a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	w.a.leads("10.61.9.0/24", "c", mesh.PathTunnel)
	w.Logf("%d changes took %s, while a sent %d packets", all, time.Since(started).Round(time.Millisecond), w.traffic[0].sent.Load()-before)
	w.detector.clean("during a hundred changes")
	w.meshed("after a hundred changes")
	w.tight("after a hundred changes")
}

// interfaceIsRenamed renames a's interface. If another one has its name then, the agent
// can't name it back, and routes nothing by that name.
func (w *leakLab) interfaceIsRenamed() {
	w.Helper()
	link := w.a.link()
	w.a.ip("link set " + link + " name ws-other")
	w.meshed("a's interface was renamed")
	w.tight("after a's interface was renamed")

	// The peer of the impostor is up, so that packets to it would leave.
	w.a.ip("link add ws-spare type veth peer name ws-spare2")
	w.a.ip("link set ws-spare2 up")
	a := w.a.proc.cmd.Process
	if err := a.Signal(syscall.SIGSTOP); err != nil { // else it is named back too soon
		w.Fatal(err)
	}
	eventually(w.T, within, func() error { return stopped(a.Pid) })
	w.a.ip("link set " + link + " name ws-other")
	w.a.ip("link set ws-spare name " + link + " up")
	if err := a.Signal(syscall.SIGCONT); err != nil {
		w.Fatal(err)
	}
	eventually(w.T, 20*time.Second, func() error {
		s, err := w.a.status()
		if err == nil && !slices.ContainsFunc(s.Conditions, func(c agent.ConditionView) bool { return strings.Contains(c.Message, mesh.ErrNameTaken.Error()) }) {
			err = fmt.Errorf("conditions %v", s.Conditions)
		}
		return err
	})
	w.tight("while another interface has the name")
	if out := w.a.mustExec("ip", "route", "show", "table", "all", "dev", link); strings.Contains(out, "table 180") {
		w.Errorf("the agent routes into another program's interface:\n%s", out)
	}
	w.a.ip("link delete " + link)
	w.meshed("the other interface has gone")
	w.tight("after the other interface has gone")
}

// interfaceGoes deletes a's interface.
func (w *leakLab) interfaceGoes() {
	w.Helper()
	w.a.ip("link delete " + w.a.link())
	w.meshed("a's interface was deleted")
	w.tight("after a's interface was deleted")
}

// flushed empties nftables. Until the agent has repaired that, only routes can refuse
// packets.
func (w *leakLab) flushed() {
	w.Helper()
	worst := 0
	for range 5 {
		w.a.mustExec("nft", "flush", "ruleset")
		// After a repair the agent leaves changes alone for ten times as long as that took.
		eventually(w.T, time.Minute, func() error { _, err := w.a.exec("nft", "list", "table", "inet", "wirespan"); return err })
		seen := w.detector.take()
		for k := range seen {
			if w.subnet.Contains(k.to) || w.subnet.Contains(k.from) {
				w.Errorf("nftables were emptied, and %s left in the clear", k)
			}
		}
		worst = max(worst, total(seen))
	}
	w.Logf("between nft flush ruleset and the repair, at most %d packets left in the clear", worst)
	w.meshed("nftables were emptied")
	w.tight("after nftables were emptied")
}

// unguarded checks that the detector sees leaks when the rules are removed.
func (w *leakLab) unguarded() {
	w.Helper()
	if code := w.a.proc.exitCode(w.T, syscall.SIGTERM); code != 0 {
		w.Errorf("on SIGTERM, a ended with %d", code)
	}
	w.tight("with a's agent stopped")
	w.a.mustExec("nft", "delete", "table", "inet", "wirespan")
	w.a.mustExec("sh", "-c", "ip rule del pref 32500; ip -6 rule del pref 32500; ip -6 route del unreachable "+w.subnet.String()+" metric 2147483647")
	seen := map[leak]int{}
	eventually(w.T, 20*time.Second, func() error {
		for k, times := range w.detector.take() {
			seen[k] += times
		}
		for _, to := range append(w.s2.addresses(), w.ula) {
			for _, forwarded := range []bool{false, true} {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(seen)), func(k leak) bool {
					return k.node == "a" && k.to == to && slices.Contains(w.s1.addresses(), k.from) == forwarded
				}) {
					return fmt.Errorf("the detector does not see packets to %s (from a's site: %t):\n%s", to, forwarded, listLeaks(seen))
				}
			}
		}
		return nil
	})
	w.Logf("without rules, the detector has seen %d packets, of %d kinds", total(seen), len(seen))
	w.a.up()
	w.meshed("a is back, with rules")
	w.detector.take()
	w.tight("with rules again")
}

// stopped returns an error unless all threads of a process have stopped.
func stopped(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return err
	}
	for _, t := range threads {
		status, err := os.ReadFile(t)
		if err == nil && !strings.Contains(string(status), "State:\tT") {
			err = fmt.Errorf("%s: it runs", t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
