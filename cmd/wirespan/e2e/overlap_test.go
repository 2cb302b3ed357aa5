package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// scenarioOverlap checks peers that announce networks of others, or networks that need
// permission. One peer keeps the network, the conflict names both, and a peer becomes
// the exit to the Internet only if it is allowed to.
//
//	s1           s3             internet 203.0.113.9
//	 |            |                   |
//	 a --switch-- c (founder)         b wan0
//	  \---- d -----------------------/
func scenarioOverlap(l *lab) {
	ha, hb, hc := l.host("a"), l.host("b"), l.host("c")
	s1, s3, internet := ha.site(1), hc.site(3), hb.internet()
	const shared = "10.62.0.0/24"
	a := ha.leader(s1).resolvedBy("10.55.0.53")
	b := hb.node(settings("advertisedNetworks: [0.0.0.0/0]", "masquerade: true"))
	c := hc.node(settings("advertisedNetworks: [10.61.3.0/24, fd61:3::/64, " + shared + "]"))
	d := l.host("d").node(settings("advertisedNetworks: [" + shared + ", 10.90.0.254/32, 10.55.0.53/32]"))
	before := a.steadyKernel()
	token := c.found()
	a.join(token)
	b.join(token)
	l.allUp(a, b, c)
	a.leads(shared, c.name, mesh.PathTunnel)
	d.join(token)
	l.allUp(a, b, c, d)
	a.leads(shared, c.name, mesh.PathTunnel) // the first seen keeps it
	a.conflict(mesh.ConditionNetworkOverlap, d, shared, d.mustStatus().Node.ID, c.mustStatus().Node.ID)
	a.conflict(mesh.ConditionRouteRefused, b, "0.0.0.0/0", "allowedNetworks: [b=0.0.0.0/0]")
	a.conflict(mesh.ConditionRouteRefused, d, "10.90.0.254 (this node's gateway)", "10.55.0.53 (this node's DNS server)")
	for _, to := range []string{internet.address, "10.90.0.254", "10.55.0.53"} {
		a.explains(to, firewall.PathBypass, "")
	}

	a.configure(settings("allowedNetworks: [b=0.0.0.0/0]", "advertisedNetworks: "+s1.networks()))
	a.mustCLI("reload")
	a.exits(b, internet, s1)
	s1.reaches(s3.v4)
	s1.reaches(s3.v6)
	a.explains("10.61.3.2", firewall.PathTunnel, "c")
	a.proc.end(l.T, syscall.SIGKILL) // to come back it must not need the exit
	a.up()
	l.allUp(a, b, c, d)
	a.exits(b, internet, s1)
	if s := a.mustStatus(); len(s.Discovery) != 1 || !s.Discovery[0].Connected {
		l.Errorf("discovery of a: %+v", s.Discovery)
	}
	a.mustCLI("down")
	a.proc.wait(l.T)
	a.untouched(before)
}

// exits checks that this node, and a site behind it, reach the Internet through the peer
// and by no other path.
func (n *labNode) exits(by *labNode, internet *labHost, s *site) {
	n.Helper()
	to := netip.MustParseAddr(internet.address)
	eventually(n.T, within, func() error { return n.ping(to) })
	leak := n.sniff("eth0", func(p *sniffed) bool { return p.to.Addr() == to || p.from.Addr() == to })
	inner := internet.sniff("eth0", (*sniffed).isPing)
	n.reaches(to)
	s.reaches(to)
	for _, p := range leak.stop() {
		n.Errorf("on the way to the Internet, in the clear: %v", &p)
	}
	packets := inner.stop()
	for _, p := range packets {
		if !p.out && p.from.Addr() != to.Prev() {
			n.Errorf("in the Internet: %v, not from %s", &p, to.Prev())
		}
	}
	if len(packets) < 8 {
		n.Errorf("in the Internet: %v", packets)
	}
	n.explains(internet.address, firewall.PathTunnel, by.name)
	if peer, err := n.peer("c"); err != nil || peer.State != mesh.PeerStateUp {
		n.Errorf("c: %+v, %v", peer, err)
	}
}

// internet adds a host that only this host reaches.
func (h *labHost) internet() *labHost {
	h.Helper()
	w := h.namespace("w")
	w.address = "203.0.113.9"
	h.must("ip", "-n", h.ns, "link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", w.ns)
	h.ip("address add 203.0.113.8/24 dev wan0")
	h.ip("link set wan0 up")
	w.ip("address add 203.0.113.9/24 dev eth0")
	w.ip("link set eth0 up")
	return w
}

// resolvedBy gives the agent a DNS server.
func (n *labNode) resolvedBy(server string) *labNode {
	n.Helper()
	if err := os.WriteFile(n.path("resolv.conf"), []byte("nameserver "+server+"\n"), 0o600); err != nil {
		n.Fatal(err)
	}
	n.as = []string{"unshare", "--mount", "sh", "-c", fmt.Sprintf(`mount --bind %s /etc/resolv.conf && exec "$@"`, n.path("resolv.conf")), "sh"}
	return n
}

// conflict waits for a condition about a peer, which is listed as a conflict.
func (n *labNode) conflict(typ mesh.ConditionType, peer *labNode, words ...string) {
	n.Helper()
	n.condition(typ, append(words, peer.name)...)
	out := n.mustCLI("get", "conflicts", "-o", "json")
	for _, w := range append(words, string(typ)+"/"+peer.name) {
		if !strings.Contains(out, w) {
			n.Errorf("get conflicts lacks %s:\n%s", w, out)
		}
	}
}
