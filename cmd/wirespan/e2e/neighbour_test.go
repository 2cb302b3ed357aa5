package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"

	"github.com/wirespan/wirespan/mesh"
)

// neighbour is a host on the switch that is not in the mesh. It can use any source
// address.
type neighbour struct {
	*labHost
	sent int
}

func (n *neighbour) poses(a netip.Addr) {
	n.Helper()
	n.ip(fmt.Sprintf("address add %s/%d dev eth0", a, a.BitLen()) + map[bool]string{true: " nodad"}[a.Is6()])
}

// sends sends a datagram from an address to port 9000 of another.
func (n *neighbour) sends(from, to netip.Addr) {
	n.Helper()
	err := n.inside(func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err := d.DialContext(context.Background(), "udp", netip.AddrPortFrom(to, 9000).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(leakMarker))
		return err
	})
	if err != nil {
		n.Fatalf("%s to %s: %v", from, to, err)
	}
	n.sent++
}

var packetCount = regexp.MustCompile(`counter packets (\d+)`)

// dropsSpoofed waits until the chain preraw has dropped the given number of packets,
// which came by a link but have a mesh address.
func (n *labNode) dropsSpoofed(want int) {
	n.Helper()
	eventually(n.T, within, func() error {
		out, err := n.exec("nft", "list", "chain", "inet", "wirespan", "preraw")
		got := 0
		for _, m := range packetCount.FindAllStringSubmatch(out, -1) {
			count, _ := strconv.Atoi(m[1]) // the pattern matches digits only
			got += count
		}
		if err == nil && got < want {
			err = fmt.Errorf("%s has dropped %d packets in chain preraw, want %d", n.name, got, want)
		}
		return err
	})
}

// tells sends datagrams from a mesh node to another until its sink receives them.
func (n *labNode) tells(to *labNode, s *sink) {
	n.Helper()
	from := n.mustStatus().Node.Address
	eventually(n.T, within, func() error {
		err := n.inside(func() error {
			conn, err := net.Dial("udp", netip.AddrPortFrom(to.mustStatus().Node.Address, 9000).String())
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte(leakMarker))
			return err
		})
		if err == nil && !slices.Contains(s.senders(), from) {
			err = fmt.Errorf("%s got nothing from %s", to.name, n.name)
		}
		return err
	})
}

// scenarioNeighbour checks that no packet gets in from a host on the link that is not in
// the mesh, neither with the host's own address nor with one of the mesh. The same
// packets reach a node without rules.
func scenarioNeighbour(l *lab) {
	hosts := []*labHost{l.host("a"), l.host("b"), l.host("c")}
	s1, s2 := hosts[0].site(1), hosts[1].site(2)
	a, b, c := hosts[0].leader(s1), hosts[1].leader(s2), hosts[2].node(settings("firewall: {enabled: false}"))
	n := &neighbour{labHost: l.host("n")}
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	atA, atB, atC, atS2 := a.sinks(), b.sinks(), c.sinks(), s2.sinks()
	ulaA, ulaB, ulaC := a.mustStatus().Node.Address, b.mustStatus().Node.Address, c.mustStatus().Node.Address
	subnet, _ := ulaA.Prefix(64) // an IPv6 address has enough bits
	own, linkA := netip.MustParseAddr("fd90::4"), netip.MustParseAddr("fd90::1")
	unused := ulaA.Next()
	n.ip("-6 route add " + subnet.String() + " via fd90::1")
	n.ip("-6 route add " + ulaC.String() + " via fd90::3")
	n.poses(unused)

	n.sends(own, ulaC)
	n.sends(unused, netip.MustParseAddr("fd90::3"))
	eventually(l.T, within, func() error {
		if got := atC.senders(); !slices.Contains(got, own) || !slices.Contains(got, unused) {
			return fmt.Errorf("c, which has no rules, got packets from %v only", got)
		}
		return nil
	})

	n.sent = 0
	n.sends(own, ulaA)
	n.sends(unused, linkA)
	n.sends(unused, ulaA)
	a.dropsSpoofed(n.sent)
	a.forwardsAll()
	n.sends(own, ulaB)
	n.sends(unused, ulaB)
	n.poses(ulaB) // the address of a peer
	n.sends(ulaB, linkA)
	n.sends(ulaB, ulaA)
	a.dropsSpoofed(n.sent)
	n.ip("address del " + ulaB.String() + "/128 dev eth0")
	if got := append(atA.senders(), atB.senders()...); len(got) > 0 {
		l.Errorf("the neighbour got in as %v", got)
	}
	a.tells(b, atB)
	b.tells(a, atA)
	if got := append(atA.senders(), atB.senders()...); !slices.Equal(got, []netip.Addr{ulaB, ulaA}) {
		l.Errorf("a and b got packets from %v, want %v", got, []netip.Addr{ulaB, ulaA})
	}
	n.spoofsSites(a, s1, s2, atA, atS2)
}

// forwardsAll makes the host a router for all of its links.
func (h *labHost) forwardsAll() {
	h.Helper()
	err := h.inside(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0) })
	if err != nil {
		h.Fatal(err)
	}
}

// spoofsSites checks packets on a link with the source address of a site. Replies to
// them go to the site through the tunnel. Packets from a link without a site do not
// enter the tunnel, unless the host is a router for that link.
func (n *neighbour) spoofsSites(a *labNode, s1, s2 *site, atA, atS2 *sink) {
	n.Helper()
	detector := n.detectLeaks([]netip.Prefix{netip.MustParsePrefix("10.61.2.0/24"), netip.MustParsePrefix("fd61:2::/64")}, a)
	replies := s2.sniff("eth0", func(p *sniffed) bool { return p.isPing() })
	n.ip("route add 10.61.2.0/24 via 10.90.0.1 src " + n.address)
	for _, spoofed := range s2.addresses() {
		n.poses(spoofed)
		link := netip.MustParseAddr(a.address)
		if spoofed.Is6() {
			link = netip.MustParseAddr("fd90::1")
		}
		n.sends(spoofed, link)
		eventually(n.T, within, func() error {
			if !slices.Contains(atA.senders(), spoofed) {
				return fmt.Errorf("a got nothing from %s on its link", spoofed)
			}
			return nil
		})
		eventually(n.T, within, func() error {
			_, _ = n.exec("ping", "-c", "1", "-W", "0.1", "-I", spoofed.String(), link.String()) // there is never an answer
			if len(replies.seen(func(p *sniffed) bool { return p.to.Addr() == spoofed })) == 0 {
				return fmt.Errorf("a's replies to %s do not reach the site", spoofed)
			}
			return nil
		})
		n.ip(fmt.Sprintf("address del %s/%d dev eth0", spoofed, spoofed.BitLen()))
	}
	detector.clean("while a host on the link posed as one of a site")

	inside := s1.v4.Next()
	n.poses(inside)
	n.sends(inside, s2.v4)
	n.sends(netip.MustParseAddr(n.address), s2.v4)
	n.sends(inside, netip.MustParseAddr(a.address)) // this one is sent after them, and arrives
	eventually(n.T, within, func() error {
		if !slices.Contains(atA.senders(), inside) {
			return fmt.Errorf("a got nothing from %s", inside)
		}
		return nil
	})
	s1.sendsTo(s2.v4)
	atS2.getsMore("a site sends to another")
	if got := atS2.senders(); !slices.Equal(got, []netip.Addr{s1.v4}) {
		n.Errorf("the site got packets from %v, want only from %s", got, s1.v4)
	}
}
