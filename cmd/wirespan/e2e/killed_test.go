package e2e

import (
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// scenarioKilled checks that without its agent a node refuses traffic that belongs in
// the tunnel, and that none of it is on the wire. Connections survive if the agent is
// back in time.
func scenarioKilled(l *lab) {
	b, c := l.host("b"), l.host("a")
	s := b.site(2)
	n, peer := c.node(""), b.leader(s)
	for _, h := range []*labHost{b, s.labHost} {
		h.repeats()
	}
	l.must("ip", "-n", l.prefix+"switch", "address", "add", "fd90::fe/64", "dev", "br0", "nodad")
	c.ip("-6 route add default via fd90::fe")
	n.join(peer.found())
	l.allUp(n, peer)
	n.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	ula := peer.mustStatus().Node.Address
	subnet, _ := ula.Prefix(64) // an IPv6 address has enough bits
	detector := l.detectLeaks([]netip.Prefix{subnet, netip.MustParsePrefix("10.61.2.0/24"), netip.MustParsePrefix("fd61:2::/64")}, n)
	conns := []net.Conn{n.dialsEcho(ula), n.dialsEcho(s.v4), n.dialsEcho(s.v6)}
	for _, conn := range conns {
		n.says(conn, "before")
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		n.proc.end(l.T, signal)
		n.closed(ula, s.addresses()...)
		for _, conn := range conns { // data that is in flight without the agent
			_, _ = io.WriteString(conn, "while it is away;")
		}
		detector.clean("after " + signal.String())
		n.up()
		l.allUp(n)
		eventually(l.T, within, func() error { return n.sees("b") })
		for _, conn := range conns {
			got := make([]byte, len("while it is away;"))
			_ = conn.SetDeadline(time.Now().Add(40 * time.Second))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != "while it is away;" {
				l.Errorf("over a restart after %v, the connection to %s got %q: %v", signal, conn.RemoteAddr(), got, err)
			}
			n.says(conn, "after "+signal.String())
		}
		detector.clean("after a restart")
		for _, a := range append(s.addresses(), ula) {
			n.says(n.dialsEcho(a), "a new connection")
		}
	}
}
