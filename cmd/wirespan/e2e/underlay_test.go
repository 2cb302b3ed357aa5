package e2e

import (
	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// scenarioUnderlayIPv6 checks an underlay where no host has IPv4 on the switch, nor any
// default route.
func scenarioUnderlayIPv6(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	for _, h := range []*labHost{ha, hb} {
		h.ip("-4 address flush dev eth0")
	}
	underlay(l, ha, hb)
}

// scenarioUnderlayIPv4 checks an underlay where no host has IPv6 on the switch, nor any
// default route.
func scenarioUnderlayIPv4(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	for _, h := range []*labHost{ha, hb} {
		h.set("ipv6/conf/eth0/disable_ipv6", "1")
		h.ip("route del default")
	}
	underlay(l, ha, hb)
}

// underlay checks that two sites reach each other over both families, whatever the
// family between their gateways.
func underlay(l *lab, ha, hb *labHost) {
	l.Helper()
	s1, s2 := ha.site(1), hb.site(2)
	s1.serve()
	s2.serve()
	const announce = "addressFilters: [eth0]" // which is a veth here, and has no default route
	a, b := ha.leader(s1, announce), hb.leader(s2, announce)
	before := a.steadyKernel()
	token := a.found()
	b.join(token)
	l.allUp(a, b)
	for _, network := range []string{"10.61.2.0/24", "fd61:2::/64"} {
		a.leads(network, "b", mesh.PathTunnel)
	}
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	s1.streams(s2)
	s2.streams(s1)
	s1.datagrams(s2)
	a.pings(b)
	b.pings(a)
	for _, to := range s2.addresses() {
		a.reaches(to)
		a.explains(to.String(), firewall.PathTunnel, "b")
		b.explains(to.String(), firewall.PathBypass, "", "--from", "a")
	}
	a.calm()
	b.calm()
	b.mustCLI("down")
	a.mustCLI("down")
	a.proc.wait(l.T)
	a.untouched(before)
}
