package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// othersRules are the rules of container engines and kube-proxy: a service at a virtual
// address or at a port of the node, and networks that are forwarded and masqueraded, and
// no others. The arguments are two servers of services in the mesh, and one on this
// node.
const othersRules = `table ip nat {
	chain services {
		ip daddr 10.96.0.10 tcp dport 80 meta mark set meta mark | 0x4000 dnat to %[1]s
		ip daddr 10.96.0.11 tcp dport 80 dnat to %[3]s
		ip daddr 10.90.0.1 tcp dport 30080 meta mark set meta mark | 0x4000 dnat to %[1]s
	}
	chain prerouting { type nat hook prerouting priority dstnat; jump services; }
	chain output { type nat hook output priority -100; jump services; }
	chain postrouting {
		type nat hook postrouting priority srcnat;
		meta mark & 0x4000 == 0x4000 meta mark set meta mark ^ 0x4000 masquerade fully-random
		ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
	}
}
table ip6 nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		ip6 daddr fd90::1 tcp dport 30080 meta mark set meta mark | 0x4000 dnat to %[2]s
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		meta mark & 0x4000 == 0x4000 meta mark set meta mark ^ 0x4000 masquerade
		ip6 saddr fd17::/64 oifname != "docker0" masquerade
	}
}
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname { "docker0", "lan0" } accept
		oifname "lan0" accept
		ct status dnat accept
	}
}
`

// scenarioCoexist checks a node that also has a bridge with a container, services, a
// second uplink with marks and a table of its own, and strict reverse path filtering.
// All of that works, and so does the mesh.
//
//	s1         p (container)        w 10.78.0.1
//	 |          |                    |
//	lan0     docker0                wan0             s2
//	 +----------a--------------------+                |
//	            |                                     |
//	            +------------- switch -------+--------b
//	                                         x, not in the mesh
func scenarioCoexist(l *lab) {
	ha, hb, x := l.host("a"), l.host("b"), l.host("x")
	s1, s2 := ha.site(1), hb.site(2)
	p, w := ha.container(), ha.uplink()
	a, b := ha.leader(s1), hb.leader(s2)
	names4, names6, local := s2.names(s2.v4), s2.names(s2.v6), ha.names(netip.MustParseAddr(ha.address))
	ha.nft(fmt.Sprintf(othersRules, names4, names6, local))
	ha.strict()
	before := a.steadyKernel()
	token := a.found()
	b.join(token)
	l.allUp(a, b)
	a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	a.condition("Firewall", "net.ipv4.conf.all.rp_filter is 1")

	for i, at := range s2.addresses() {
		s1.reaches(at)
		s2.reaches(s1.addresses()[i])
		ha.reaches(at)
		p.reaches(at)
	}
	a.pings(b)
	b.pings(a)
	others(ha, p, w, x, s1.labHost)
	for _, family := range []struct{ service, server netip.AddrPort }{
		{netip.MustParseAddrPort("10.90.0.1:30080"), names4}, {netip.MustParseAddrPort("[fd90::1]:30080"), names6},
	} {
		if _, err := x.comesAs(family.service); err != nil {
			l.Errorf("x asks the service at a port of a, which leads to %s: %v", family.server, err)
		}
	}
	a.explains("10.61.2.2:80", firewall.PathTunnel, "b")
	a.explains("10.78.0.1", firewall.PathBypass, "")
	a.keepsOf(before)
	b.mustCLI("down")
	a.mustCLI("down")
	a.proc.wait(l.T)
	a.untouched(before)
	others(ha, p, w, x)
}

// others checks the functions that have nothing to do with the mesh, and the services
// from the hosts that use them.
func others(a, p, w, x *labHost, clients ...*labHost) {
	a.Helper()
	if err := a.ping(netip.MustParseAddr("10.78.0.1"), "-m", "4096"); err != nil {
		a.Errorf("by the second uplink: %v", err)
	}
	if err := a.ping(netip.MustParseAddr("10.78.0.1")); err == nil {
		a.Error("10.78.0.1 is reached without the mark, too")
	}
	if err := p.ping(netip.MustParseAddr(x.address)); err != nil {
		a.Errorf("from the container: %v", err)
	}
	if peer, err := a.comesAs(netip.MustParseAddrPort("10.96.0.11:80")); err != nil {
		a.Errorf("the service on a itself: %v, %v", peer, err)
	}
	if len(clients) == 0 {
		return
	}
	for _, from := range append(clients, a, p) {
		if peer, err := from.comesAs(netip.MustParseAddrPort("10.96.0.10:80")); err != nil || peer.String() != a.address {
			a.Errorf("%s asks the service in the mesh, and comes as %v: %v", from.name, peer, err)
		}
	}
	// Nothing that belongs in the tunnel leaves by the second uplink.
	leak := w.sniff("eth0", func(p *sniffed) bool { return strings.HasPrefix(p.to.Addr().String(), "10.61.") })
	if err := a.ping(netip.MustParseAddr("10.61.2.2"), "-m", "4096"); err == nil {
		a.Log("what is marked for the second uplink finds the tunnel all the same")
	}
	for _, p := range leak.stop() {
		a.Errorf("by the second uplink: %v", &p)
	}
}

// container adds docker0 and a namespace that is attached to it.
func (h *labHost) container() *labHost {
	h.Helper()
	p := h.namespace("p")
	h.ip("link add docker0 type bridge forward_delay 0 stp_state 0")
	h.ip("address add 172.17.0.1/16 dev docker0")
	h.ip("address add fd17::1/64 dev docker0 nodad")
	h.must("ip", "-n", h.ns, "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", p.ns)
	h.ip("link set veth0 master docker0 up")
	h.ip("link set docker0 up")
	p.ip("address add 172.17.0.2/16 dev eth0")
	p.ip("address add fd17::2/64 dev eth0 nodad")
	p.ip("link set eth0 up")
	p.ip("route add default via 172.17.0.1")
	p.ip("route add default via fd17::1")
	h.set("ipv4/ip_forward", "1")
	h.set("ipv6/conf/all/forwarding", "1")
	return p
}

// uplink adds a second uplink, for packets with the mark 0x1000/0xf000 or with its
// address as source.
func (h *labHost) uplink() *labHost {
	h.Helper()
	w := h.namespace("w")
	h.must("ip", "-n", h.ns, "link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", w.ns)
	h.ip("address add 10.77.0.1/24 dev wan0")
	h.ip("link set wan0 up")
	h.ip("route add default via 10.77.0.2 dev wan0 table 77")
	h.ip("rule add fwmark 0x1000/0xf000 lookup 77 priority 1000")
	h.ip("rule add from 10.77.0.1 lookup 77 priority 1001")
	w.ip("address add 10.77.0.2/24 dev eth0")
	w.ip("address add 10.78.0.1/32 dev lo")
	w.ip("link set eth0 up")
	return w
}

// strict turns on strict reverse path filtering.
func (h *labHost) strict() {
	h.Helper()
	for _, name := range []string{"all", "default", "eth0", "lan0", "docker0", "wan0"} {
		h.set("ipv4/conf/"+name+"/rp_filter", "1")
	}
}

// set writes a sysctl below /proc/sys/net of the host.
func (h *labHost) set(name, value string) {
	h.Helper()
	if err := h.inside(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }); err != nil {
		h.Fatal(err)
	}
}

// removed returns the lines that the kernel has no more, except for the forwarding
// settings, which are documented to change.
func removed(before, now string) string {
	var out []string
	for line := range strings.Lines(difference(before, now)) {
		if strings.HasPrefix(line, "- ") && !strings.Contains(line, "forwarding = ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
