package e2e

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// scenarioCoexistHeal checks that whatever another program removes or changes of the
// agent's rules, routes and sockets is restored at once, not at the next regular check.
func scenarioCoexistHeal(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	s1, s2 := ha.site(1), hb.site(2)
	a, b := ha.leader(s1, "masquerade: true"), hb.leader(s2)
	before := a.steadyKernel()
	token := a.found()
	b.join(token)
	l.allUp(a, b)
	a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	s2.reaches(s1.v4)
	s2.reaches(s1.v6)
	a.calm()

	self := a.mustStatus().Node.Address
	subnet := netip.PrefixFrom(self, 64).Masked()
	good := a.steadyKernel()
	for _, want := range []string{"10.61.2.0/24", "fd61:2::/64", "default dev " + a.link(), "fwmark 0x40/0x60 lookup 180", "unreachable " + subnet.String()} {
		if !strings.Contains(good, want) {
			l.Errorf("the kernel of a has no %s:\n%s", want, good)
		}
	}
	for _, harm := range []string{
		"nft flush ruleset",
		"nft delete table inet wirespan",
		"nft delete element inet wirespan routed4 { 10.61.2.0/24 }",
		"nft add element inet wirespan routed4 { 10.62.0.0/16 }",
		"nft flush set inet wirespan routed6",
		"nft flush chain inet wirespan guard",
		"nft insert rule inet wirespan prerouting drop",
		"ip rule del priority 32500",
		"ip -6 rule del priority 32500",
		"ip route flush table 180",
		"ip -6 route flush table 180",
		fmt.Sprintf("ip route change default dev %s table 180 metric 1 proto static mtu 1300", a.link()),
		fmt.Sprintf("ip -6 route del unreachable %s metric 2147483647", subnet),
		fmt.Sprintf("ip address del %s/64 dev %s", self, a.link()),
		"ip address flush dev " + a.link(),
		"ip -4 address flush dev " + a.link(),
		"ip -6 route flush dev " + a.link(),
		"sysctl -qw net.ipv4.conf." + a.link() + ".rp_filter=1",
		"sysctl -qw net.ipv4.conf." + a.link() + ".forwarding=0",
		"sysctl -qw net.ipv4.conf.lan0.forwarding=0",
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0",
		"sysctl -qw net.ipv6.conf." + a.link() + ".disable_ipv6=1",
		"ip link set " + a.link() + " mtu 1300",
		"ip link set " + a.link() + " down",
		"ip link set " + a.link() + " name ws-other",
	} {
		a.mustExec(strings.Fields(harm)...)
		a.heals(harm, good)
	}
	for _, n := range []*labNode{a, b} {
		n.mustExec("ss", "-K", "-u", "-a") // destroys the sockets of the tunnel
	}
	s1.reaches(s2.v4)
	s2.reaches(s1.v4)
	s2.reaches(s1.v6)
	a.explains("10.61.2.2", firewall.PathTunnel, "b")
	a.calm()
	b.mustCLI("down")
	a.mustCLI("down")
	a.proc.wait(l.T)
	a.untouched(before)
}

// heals waits until the kernel is as before the harm.
func (n *labNode) heals(harm, good string) {
	n.Helper()
	defer func() {
		if n.Failed() {
			n.Logf("after %s", harm)
		}
	}()
	n.untouched(good)
}
