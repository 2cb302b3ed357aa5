package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// Sizes that follow from a tunnel MTU of 1420: the largest TCP segments, with room for
// timestamps, and the packets that these give.
const (
	tunnelMTU   = 1420
	clampedMSS4 = tunnelMTU - 52
	clampedMSS6 = tunnelMTU - 72
	fullPacket  = tunnelMTU - 12
)

// scenarioSites checks that hosts behind three gateways, which are not in the mesh,
// reach each other with all kinds of traffic. When the gateways have left, their kernels
// are as before.
func scenarioSites(l *lab) {
	var sites []*site
	var nodes []*labNode
	var before []string
	for i, name := range []string{"a", "b", "c"} {
		h := l.host(name)
		s := h.site(i + 1)
		s.serve()
		sites, nodes = append(sites, s), append(nodes, h.leader(s))
	}
	segmented(sites[2], nodes[2].labHost)
	for _, n := range nodes {
		before = append(before, n.steadyKernel())
	}
	token := nodes[0].found()
	nodes[1].join(token)
	nodes[2].join(token)
	l.allUp(nodes...)
	for i, n := range nodes {
		for j, s := range sites {
			if i != j {
				n.leads(fmt.Sprintf("10.61.%d.0/24", s.number), nodes[j].name, mesh.PathTunnel)
				n.leads(fmt.Sprintf("fd61:%d::/64", s.number), nodes[j].name, mesh.PathTunnel)
			}
		}
	}
	for i, s := range sites {
		for _, other := range sites[:i] {
			s.streams(other)
			other.streams(s)
		}
	}
	for i, s := range sites {
		for _, other := range sites[:i] {
			s.datagrams(other)
		}
		nodes[(i+1)%3].reaches(s.v4)
		s.repliesTo(nodes[(i+1)%3])
	}
	nodes[0].explains("10.61.2.2:80", firewall.PathTunnel, "b")
	nodes[0].explains("fd61:3::2", firewall.PathTunnel, "c", "--from", "b")
	nodes[0].explains("10.61.1.2", firewall.PathBypass, "", "--from", "10.61.2.2")
	for i, n := range slices.Backward(nodes) { // the founder last: it serves discovery
		n.calm()
		n.mustCLI("down")
		n.proc.wait(l.T)
		n.untouched(before[i])
	}
}

// repliesTo checks that hosts of a site reply to a mesh address. They cannot open a
// connection to it.
func (s *site) repliesTo(n *labNode) {
	s.Helper()
	own := n.mustStatus().Node.Address
	eventually(s.T, within, func() error { return n.ping(s.v6, "-I", own.String()) })
	if err := s.ping(own, "-W", "0.5"); err == nil {
		s.Errorf("%s reaches the mesh address of %s by itself", s.name, n.name)
	}
}

// segmented turns offloads off, so that captures in the site show packets as on an
// Ethernet.
func segmented(s *site, gateway *labHost) {
	s.Helper()
	gateway.mustExec("ethtool", "-K", "lan0", "tso", "off", "gso", "off", "gro", "off")
	s.mustExec("ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off")
}

// streams pings another site and sends streams to it, before a smaller MTU than that of
// the link is known.
func (s *site) streams(to *site) {
	s.Helper()
	for _, a := range to.addresses() {
		s.reaches(a)
		s.stream(to, a)
	}
}

// datagrams sends datagrams between two sites, including some that are larger than the
// tunnel allows.
func (s *site) datagrams(to *site) {
	s.Helper()
	for i, a := range to.addresses() {
		s.learnsMTU(a)
		to.learnsMTU(s.addresses()[i])
		err := returnAll(func() (*net.UDPConn, error) { return s.dialUDP(netip.AddrPortFrom(a, 9000)) },
			[]int{1, 512, tunnelMTU - 48, tunnelMTU - 28, tunnelMTU, 1472, 4000, 30000})
		if err != nil {
			s.Errorf("%s to %s: %v", s.name, a, err)
		}
	}
}

// stream sends bytes in both directions over TCP and checks the size of segments.
func (s *site) stream(to *site, a netip.Addr) {
	s.Helper()
	isFlow := func(p *sniffed) bool {
		return p.protocol == unix.IPPROTO_TCP && (p.to.Addr() == a || p.from.Addr() == a)
	}
	near, far := s.sniff("eth0", isFlow), to.sniff("eth0", isFlow)
	conn, err := s.dial(context.Background(), "tcp", netip.AddrPortFrom(a, 9000).String())
	if err == nil {
		err = flow{Seed: uint64(s.number<<8 | to.number), Lengths: [2]uint64{1 << 20, 1 << 20}}.start(conn)
	}
	if err != nil {
		s.Errorf("%s to %s: %v", s.name, a, err)
	}
	mss, own := clampedMSS4, 1460
	if a.Is6() {
		mss, own = clampedMSS6, 1440
	}
	for _, c := range []struct {
		at  *sniffer
		out bool
		mss int
	}{{near, true, own}, {far, false, mss}, {far, true, own}, {near, false, mss}} {
		syns, largest := 0, 0
		for _, p := range c.at.stop() {
			if p.out != c.out {
				continue
			}
			if got := p.synMSS(); got != 0 {
				if syns++; got != c.mss {
					s.Errorf("%s to %s at %s: segments of %d bytes are announced, want %d: %v", s.name, a, c.at.name, got, c.mss, &p)
				}
			}
			largest = max(largest, p.length)
		}
		if syns == 0 {
			s.Errorf("%s to %s at %s: no SYN seen", s.name, a, c.at.name)
		}
		if c.at.name == "s3" && largest != fullPacket {
			s.Errorf("%s to %s at %s: the largest packet has %d bytes, want %d", s.name, a, c.at.name, largest, fullPacket)
		}
	}
}

// learnsMTU sends datagrams that must not be fragmented and do not fit the tunnel, and
// checks that the gateway reports the MTU.
func (s *site) learnsMTU(to netip.Addr) {
	s.Helper()
	errs := s.sniff("eth0", func(p *sniffed) bool { return p.tooBig() != 0 })
	conn, err := s.dialUDP(netip.AddrPortFrom(to, 9000))
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	level, discover, current := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU
	if to.Is6() {
		level, discover, current = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU
	}
	if _, err := onSocket(conn, func(fd int) (int, error) {
		return 0, unix.SetsockoptInt(fd, level, discover, unix.IP_PMTUDISC_DO)
	}); err != nil {
		s.Fatal(err)
	}
	eventually(s.T, within, func() error {
		_, _ = conn.Write(datagram(1, 1, 1440)) // fails when the MTU is known
		mtu, err := onSocket(conn, func(fd int) (int, error) { return unix.GetsockoptInt(fd, level, current) })
		if err == nil && mtu != tunnelMTU {
			err = fmt.Errorf("%s believes that %d bytes reach %s", s.name, mtu, to)
		}
		return err
	})
	for _, p := range errs.stop() {
		if p.tooBig() != tunnelMTU || p.from.Addr() != s.gateway(to) {
			s.Errorf("%s got %v, which tells an MTU of %d", s.name, &p, p.tooBig())
		}
	}
}

// onSocket calls do with the socket of a connection.
func onSocket(conn *net.UDPConn, do func(fd int) (int, error)) (value int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { value, failed = do(int(fd)) })
	if err == nil {
		err = os.NewSyscallError("sockopt", failed)
	}
	return value, err
}

// dialUDP opens a connected socket on the host, with a port of its own.
func (h *labHost) dialUDP(to netip.AddrPort) (conn *net.UDPConn, err error) {
	err = h.inside(func() (err error) {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	return conn, err
}
