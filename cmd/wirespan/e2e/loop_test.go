package e2e

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// wirePort is the port at which agents of the lab listen.
const wirePort = 51820

// scenarioTunnelInTunnel checks a peer that announces networks which contain its own
// endpoints. All traffic to them goes through the tunnel, except the encrypted packets.
// An endpoint inside the network of the cluster is refused.
func scenarioTunnelInTunnel(l *lab) {
	a := l.host("a").node("")
	b := l.host("b").node(settings("advertisedNetworks: [10.90.0.0/24, fd90::/64]"))
	token := a.found()
	b.join(token)
	l.allUp(a, b)
	a.condition(mesh.ConditionRouteRefused, "b", "10.90.0.254", "gateway")
	inside := []netip.Addr{netip.MustParseAddr("10.90.0.2"), netip.MustParseAddr("fd90::2")}
	for _, to := range inside {
		a.explains(to.String(), firewall.PathTunnel, "b")
		a.reaches(to)
		a.onceEncrypted(b, to)
	}
	a.onceEncrypted(b, b.mustStatus().Node.Address)
	a.downloads(b.web(), a.dial)
	for _, n := range []*labNode{a, b} {
		if s := n.mustStatus(); len(s.Discovery) == 0 || !s.Discovery[0].Connected {
			l.Errorf("discovery of %s: %+v", n.name, s.Discovery)
		}
	}

	own := b.mustStatus().Node.Address
	b.configure(settings("advertisedNetworks: [10.90.0.0/24, fd90::/64]") +
		fmt.Sprintf("---\napiVersion: v1alpha1\nkind: KubeSpanEndpointsConfig\nextraAnnouncedEndpoints: ['[%s]:%d']\n", own, wirePort))
	b.mustCLI("reload")
	a.condition(mesh.ConditionEndpointInMesh, "b", own.String())
	if out := a.mustCLI("get", "conflicts"); !strings.Contains(out, "EndpointInMesh") {
		l.Errorf("get conflicts:\n%s", out)
	}
	specs, err := resources[labSpec](a, "kubespanpeerspecs")
	if err != nil {
		l.Fatal(err)
	}
	for _, spec := range specs {
		for _, ep := range spec.Endpoints {
			if ep.Addr() == own {
				l.Errorf("a would try %s", ep)
			}
		}
	}
	a.onceEncrypted(b, own)
}

// onceEncrypted pings an address of a peer with packets of a size that no others have.
// Each must pass the link once, encrypted once, from host to host.
func (n *labNode) onceEncrypted(peer *labNode, to netip.Addr) {
	n.Helper()
	const count, size, overhead = 10, 1000, 150
	s := n.sniff("eth0", func(p *sniffed) bool {
		return p.isPing() && p.length >= size || p.protocol == unix.IPPROTO_UDP && p.to.Port() == wirePort && p.from.Port() == wirePort
	})
	ping := []string{"ping", "-c", fmt.Sprint(count), "-i", "0.05", "-w", "20", "-s", fmt.Sprint(size), to.String()}
	if _, err := n.exec(ping...); err != nil {
		n.Fatal(err)
	}
	outer, others := map[string]int{}, 0
	for _, p := range s.stop() {
		ends := []netip.Addr{p.from.Addr(), p.to.Addr()}
		switch {
		case p.isPing():
			n.Errorf("to %s: in the clear: %v", to, &p)
		case p.length < size, p.length > size+overhead:
			others++ // handshakes, keepalives, probes of the path's MTU
		case n.owns(ends[0]) && peer.owns(ends[1]) || n.owns(ends[1]) && peer.owns(ends[0]):
			outer[fmt.Sprintf("out %t, %d bytes", p.out, p.length)]++
		default:
			n.Errorf("to %s: %v", to, &p)
		}
	}
	if len(outer) != 2 || others > 10*count {
		n.Errorf("to %s: large packets %v, and %d others", to, outer, others)
	}
	for what, times := range outer {
		if times != count {
			n.Errorf("to %s: %d encrypted packets (%s), want %d", to, times, what, count)
		}
	}
}

// owns reports whether an address is one of the host's on the switch.
func (h *labHost) owns(a netip.Addr) bool {
	own := netip.MustParseAddr(h.address)
	return a == own || a == netip.MustParseAddr(fmt.Sprintf("fd90::%x", own.As4()[3]))
}
