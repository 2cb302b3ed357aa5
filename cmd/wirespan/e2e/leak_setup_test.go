package e2e

import (
	"net/netip"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// leakLab has two gateways with a site each, a node whose networks change, and a
// discovery server that is not a node:
//
//	s1 --- a ---+--- c (10.61.5.0/24 …)
//	         switch
//	s2 --- b ---+--- d
//
// All nodes have default routes for IPv4 and IPv6: without one, nothing could leak.
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

// settings returns a configuration; the lines of kubespan are added to the
// KubeSpanConfig document.
func (w *leakLab) settings(kubespan string, keys ...string) string {
	return strings.Replace(w.documents, "enabled: true\n", "enabled: true\n"+kubespan, 1) + settings(keys...)
}

// leakNetworks returns c's networks in one of several forms. All forms contain
// 10.61.5.0/24, so that no packet to it may ever leave in the clear.
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
	w.subnet, _ = w.ula.Prefix(64) // an IPv6 address has enough bits
	networks := []netip.Prefix{w.subnet}
	for _, n := range []string{"10.61.1.0/24", "fd61:1::/64", "10.61.2.0/24", "fd61:2::/64", "10.61.5.0/24", "fd61:5::/64"} {
		networks = append(networks, netip.MustParsePrefix(n))
	}
	w.a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	w.b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	w.detector = w.detectLeaks(networks, nodes...)
	w.sinks = []*sink{w.s2.sinks(), w.s1.sinks()}
	distant := []netip.Addr{netip.MustParseAddr("10.61.5.1"), netip.MustParseAddr("fd61:5::1"), w.c.mustStatus().Node.Address, w.ula}
	// Not c's: c withdraws the address of a link that is down, which then belongs to no
	// peer.
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

// tight lets the traffic continue for a while, and checks that none of it leaves in the
// clear.
func (w *leakLab) tight(when string) {
	w.Helper()
	for _, t := range w.traffic {
		t.goesOn(10)
	}
	w.detector.clean(when)
}
