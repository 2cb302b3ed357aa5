package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// leakLab is two gateways with a site each, a node whose networks change, and a
// discovery server that is no node:
//
//	s1 --- a ---+--- c (10.61.5.0/24 …)
//	         switch
//	s2 --- b ---+--- d
//
// All of them have default routes, IPv6 too: without one, nothing could leak.
type leakLab struct {
	*lab
	documents string
	server    *labDiscovery
	a, b, c   *labNode
	s1, s2    *site
	subnet    netip.Prefix // the cluster's
	ula       netip.Addr   // of b
	detector  *leakDetector
	traffic   []*leakTraffic
	sinks     []*sink
}

func newLeakLab(l *lab) *leakLab {
	l.Helper()
	w := &leakLab{lab: l}
	l.must("ip", "-n", l.prefix+"switch", "address", "add", "fd90::fe/64", "dev", "br0", "nodad")
	hosts := []*labHost{l.host("a"), l.host("b"), l.host("c")}
	for _, h := range hosts {
		h.ip("-6 route add default via fd90::fe")
	}
	w.server = l.host("d").discovery()
	w.server.start()
	w.documents, _, _ = strings.Cut(w.server.newCluster(), "# Settings of this agent")
	w.s1, w.s2 = hosts[0].site(1), hosts[1].site(2)
	hosts[2].ip("link add lan0 type bridge")
	hosts[2].ip("address add 10.61.5.1/23 dev lan0")
	hosts[2].ip("address add fd61:5::1/63 dev lan0 nodad")
	hosts[2].ip("link set lan0 up")
	w.a, w.b, w.c = hosts[0].node(""), hosts[1].node(""), hosts[2].node("")
	w.a.configure(w.settings("", "advertisedNetworks: "+w.s1.networks()))
	w.b.configure(w.settings("", "advertisedNetworks: "+w.s2.networks()))
	w.c.configure(w.settings("", leakNetworks(0)))
	return w
}

// settings is a configuration; kubespan is added to that document.
func (w *leakLab) settings(kubespan string, keys ...string) string {
	return strings.Replace(w.documents, "enabled: true\n", "enabled: true\n"+kubespan, 1) + settings(keys...)
}

// leakNetworks are c's, in several forms: 10.61.5.0/24 is always among them, so
// that nothing for it may ever leave in the clear.
func leakNetworks(form int) string {
	return "advertisedNetworks: [" + []string{
		"10.61.5.0/24, fd61:5::/64, 10.61.9.0/24",
		"10.61.4.0/23, fd61:5::/63, 10.61.9.0/24",
		"10.61.5.0/25, 10.61.5.128/25, fd61:5::/64, 10.61.9.0/24, 10.62.0.0/16",
	}[form%3] + "]"
}

// begin starts all agents, the detector and the traffic.
func (w *leakLab) begin() {
	w.Helper()
	nodes := []*labNode{w.a, w.b, w.c}
	for _, n := range nodes {
		n.up()
	}
	w.allUp(nodes...)
	w.ula = w.b.mustStatus().Node.Address
	w.subnet, _ = w.ula.Prefix(64) // of an address that has as many bits
	networks := []netip.Prefix{w.subnet}
	for _, n := range []string{"10.61.1.0/24", "fd61:1::/64", "10.61.2.0/24", "fd61:2::/64", "10.61.5.0/24", "fd61:5::/64"} {
		networks = append(networks, netip.MustParsePrefix(n))
	}
	w.a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	w.b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	w.detector = w.detectLeaks(networks, nodes...)
	w.sinks = []*sink{w.s2.sinks(), w.s1.sinks()}
	distant := []netip.Addr{netip.MustParseAddr("10.61.5.1"), netip.MustParseAddr("fd61:5::1"), w.c.mustStatus().Node.Address, w.ula}
	// Not c's: it takes back the address of a link that is down, which then is nobody's.
	links := []netip.Addr{netip.MustParseAddr(w.b.address), netip.MustParseAddr("fd90::2")}
	w.traffic = []*leakTraffic{
		w.a.sendsTo(append(append(links, distant...), w.s2.addresses()...)...),
		w.s1.sendsTo(append(distant, w.s2.addresses()...)...),
		w.s2.sendsTo(append([]netip.Addr{w.a.mustStatus().Node.Address}, w.s1.addresses()...)...),
		w.c.sendsTo(append(w.s1.addresses(), w.s2.addresses()...)...),
	}
}

// meshed waits until datagrams reach both sites.
func (w *leakLab) meshed(why string) {
	w.Helper()
	for _, s := range w.sinks {
		s.getsMore(why)
	}
}

// tight lets traffic go on for a while; nothing of it may leave in the clear.
func (w *leakLab) tight(when string) {
	w.Helper()
	for _, t := range w.traffic {
		t.goesOn(10)
	}
	w.detector.clean(when)
}

// netnsLeak: whatever happens to peers, the agent, its interface and its
// configuration, no packet that belongs into the tunnel is seen on the switch.
// The same detector sees them when the rules are taken away by hand.
func netnsLeak(l *lab) {
	w := newLeakLab(l)
	w.begin()
	w.meshed("all up")
	w.tight("with all up")
	w.peersGo()
	w.agentGoes()
	w.changes()
	w.interfaceGoes()
	w.flushed()
	w.unguarded()
}

// peersGo: a link that is down, and an agent that has stopped.
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

// agentGoes: it is killed, and comes back while discovery is unreachable, when
// it knows no peer but has to hold what it held.
func (w *leakLab) agentGoes() {
	w.Helper()
	w.a.proc.end(w.T, syscall.SIGKILL)
	w.tight("with a's agent killed")
	w.a.up()
	w.meshed("a is back")
	w.tight("with a back")

	w.server.proc.end(w.T, syscall.SIGKILL)
	w.a.restart()
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

// forgetful: the discovery server has lost its state with its life, and tells
// nothing of b until that has come back, which is made to take long.
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

// leakForms are the configurations of a that follow each other: each of them
// makes another table, or other rules.
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

// changes are a hundred, some of them of c's networks. A reload is taken only
// when the last one is applied.
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
		if err := n.control.post(w.Context(), "/v1/reload", url.Values{}, nil); err != nil {
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

// interfaceGoes: somebody deletes it.
func (w *leakLab) interfaceGoes() {
	w.Helper()
	w.a.ip("link delete " + w.a.link())
	w.meshed("a's interface was deleted")
	w.tight("after a's interface was deleted")
}

// flushed: nothing can hold between the moment in which somebody empties
// nftables and the repair, but what routes refuse.
func (w *leakLab) flushed() {
	w.Helper()
	worst := 0
	for range 5 {
		w.a.mustExec("nft", "flush", "ruleset")
		eventually(w.T, 20*time.Second, func() error { _, err := w.a.exec("nft", "list", "table", "inet", "wirespan"); return err })
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

// unguarded is what the detector sees without the rules.
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
