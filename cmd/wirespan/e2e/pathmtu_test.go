package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const (
	returnPort = 7001
	// recoverTime is how long TCP may stand still when the path has become narrow.
	recoverTime = 10 * time.Second
	// widenTime is how long it may take until a path is known to be wide again.
	widenTime = 80 * time.Second
)

// The router in the middle drops what is too large and all fragments, and tells nobody.
//
//	s1 ---- a ---- r ---- c ---- s2
func scenarioPathMTU4(l *lab) { pathMTU(l, false) }
func scenarioPathMTU6(l *lab) { pathMTU(l, true) }

// pathMTU checks that connections recover soon whenever the path becomes narrow, and that
// both nodes say which path it is.
func pathMTU(l *lab, v6 bool) {
	r, ha := l.host("r"), l.host("a")
	hc := l.beyond(r, ha, v6)
	s1, s2 := ha.site(1), hc.site(2)
	a, c := ha.leader(s1, "addressFilters: [eth0]"), hc.leader(s2, "addressFilters: [eth0]")
	c.join(a.found())
	l.allUp(a, c)
	c.echoes()
	s2.echoes()
	mesh6 := netip.AddrPortFrom(c.mustStatus().Node.Address, returnPort)
	site4, site6 := netip.AddrPortFrom(s2.v4, returnPort), netip.AddrPortFrom(s2.v6, returnPort)
	s1.reaches(s2.v4)
	s1.reaches(s2.v6)
	streams := []*echoStream{
		a.echoStream("mesh address", ha.dial, mesh6),
		a.echoStream("site, IPv4", s1.dial, site4),
		a.echoStream("site, IPv6", s1.dial, site6),
	}
	narrowing(a, c, r, streams)
	r.narrow(1280)
	c.restart() // a path that was never wide
	start := time.Now()
	l.allUp(a, c)
	again := streams[1].again()
	took := again.recovers(start)
	again.close()
	l.Logf("restart %.1f s", took.Seconds())
	s2.serve()
	s1.datagramsPass(netip.AddrPortFrom(s2.v4, 9000))
}

// datagramsPass checks that large datagrams arrive once the host knows what fits.
func (h *labHost) datagramsPass(to netip.AddrPort) {
	h.Helper()
	conn, err := h.dial(h.Context(), "udp", to.String())
	if err != nil {
		h.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 2000)
	eventually(h.T, within, func() error {
		_, _ = conn.Write(buf[:1300]) // refused while the host learns
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := conn.Read(buf); err != nil || n != 1300 {
			return errors.Join(fmt.Errorf("%d bytes returned", n), err)
		}
		return nil
	})
}

// scenarioPathMTUNetstack4 does the same with a netstack at one end.
func scenarioPathMTUNetstack4(l *lab) { pathMTUNetstack(l, false) }
func scenarioPathMTUNetstack6(l *lab) { pathMTUNetstack(l, true) }

func pathMTUNetstack(l *lab, v6 bool) {
	r, ha := l.host("r"), l.host("a")
	filters := settings("addressFilters: [eth0]") // of IPv6 there is no default route
	a, c := ha.node(filters), l.beyond(r, ha, v6).node(filters).unprivileged()
	c.flags = append(c.flags, "--backend", "netstack")
	token := a.found()
	c.start("demo", "node", "--join", c.keep(token))
	l.allUp(a, c)
	a.echoes()
	to := netip.AddrPortFrom(a.mustStatus().Node.Address, returnPort)
	narrowing(a, c, r, []*echoStream{c.echoStream("netstack", c.through, to)})
}

// narrowing makes the path narrow, narrower and wide again.
func narrowing(a, c *labNode, r *labHost, streams []*echoStream) {
	a.Helper()
	for _, n := range []*labNode{a, c} {
		n.fits(map[*labNode]*labNode{a: c, c: a}[n].name, 1420, within)
	}
	for _, width := range []int{1300, 1280} {
		r.narrow(width)
		start := time.Now()
		took := ""
		for _, s := range streams {
			took += fmt.Sprintf(", %s %.1f s", s.name, s.recovers(start).Seconds())
		}
		for _, s := range streams {
			begin := time.Now()
			again := s.again()
			again.recovers(begin)
			again.close()
			took += fmt.Sprintf(", new %s %.1f s", s.name, time.Since(begin).Seconds())
		}
		a.Logf("%d bytes%s", width, took)
		for n, peer := range map[*labNode]string{a: "c", c: "a"} {
			view, err := n.peer(peer)
			if err != nil {
				a.Fatal(err)
			}
			overhead := 60
			if view.Endpoint.Addr().Is6() {
				overhead = 80
			}
			n.fits(peer, (width-overhead)/16*16, within)
			n.conditionIn(within, mesh.ConditionPathMTU, "to "+peer, view.Endpoint.String(), fmt.Sprint((width-overhead)/16*16))
		}
	}
	if out, err := a.cli("ping", "-c", "1", "--size", "1372", "-W", "1s", "c"); err == nil || !strings.Contains(out, "larger than the path") {
		a.Errorf("wirespan ping of a size that does not fit: %v, %s", err, out)
	}
	if out := a.mustCLI("ping", "-c", "1", "--size", "1152", "c"); !strings.Contains(out, "1 received") {
		a.Errorf("wirespan ping of a size that fits: %s", out)
	}
	r.mustExec("nft", "delete", "table", "inet", "narrow")
	for n, peer := range map[*labNode]string{a: "c", c: "a"} {
		n.fits(peer, 1420, widenTime)
		n.calm()
	}
	for _, s := range streams {
		s.recovers(time.Now())
	}
}

// fits waits until the agent knows how large packets to a peer may be.
func (n *labNode) fits(peer string, size int, limit time.Duration) {
	n.Helper()
	eventually(n.T, limit, func() error {
		view, err := n.peer(peer)
		if err == nil && (view.Path == nil || view.Path.MTU != size) {
			err = fmt.Errorf("%s: path to %s: %+v, want MTU %d", n.name, peer, view.Path, size)
		}
		return err
	})
}

// beyond adds host c in a network of its own behind a router, which host a knows. All have
// one address family. Packets are on the links as they are on the wire.
func (l *lab) beyond(router, a *labHost, v6 bool) *labHost {
	l.Helper()
	c := l.behind(router, "c", 1500)
	a.ip("route add 192.168.8.0/24 via " + router.address)
	for _, h := range []*labHost{a, c, router} {
		if v6 || h == router {
			continue
		}
		h.set("ipv6/conf/eth0/disable_ipv6", "1")
	}
	if v6 {
		router.set("ipv6/conf/all/forwarding", "1")
		router.ip("address add fd98::1/64 dev far0 nodad")
		c.ip("address add fd98::2/64 dev eth0 nodad")
		c.ip("route add default via fd98::1")
		a.ip("route add fd98::/64 via fd90::1") // the router is the first host
		for _, h := range []*labHost{a, c} {
			h.ip("-4 address flush dev eth0")
		}
	}
	for _, h := range []*labHost{a, c, router} {
		h.mustExec("ethtool", "-K", "eth0", "tx-udp-segmentation", "off", "gso", "off", "gro", "off")
	}
	router.mustExec("ethtool", "-K", "far0", "tx-udp-segmentation", "off", "gso", "off", "gro", "off")
	return c
}

// narrow makes a router drop datagrams above a size, and fragments. It tells nobody.
func (h *labHost) narrow(width int) {
	h.Helper()
	h.nft(fmt.Sprintf(`table inet narrow
delete table inet narrow
table inet narrow {
	chain forward {
		type filter hook forward priority filter;
		meta l4proto udp meta length > %d drop
		ip frag-off & 0x3fff != 0 drop
		exthdr frag exists drop
	}
}
`, width))
}

// echoes returns what comes in on each connection to returnPort.
func (h *labHost) echoes() {
	h.Helper()
	var listener net.Listener
	err := h.inside(func() (err error) {
		listener, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", returnPort))
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
				_ = conn.Close()
			}()
		}
	}()
}

// echoStream is a connection whose other end returns what it is sent: data goes both ways
// without a pause.
type echoStream struct {
	*labHost
	name  string
	to    netip.AddrPort
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	echos atomic.Int64 // bytes that came back
	close func()
}

// echoRate is the rate of an echoStream in bytes per second.
const echoRate = 512 << 10

// echoStream opens a stream that runs until the test ends.
func (h *labHost) echoStream(name string, dial func(ctx context.Context, network, address string) (net.Conn, error), to netip.AddrPort) *echoStream {
	h.Helper()
	s := &echoStream{labHost: h, name: name, to: to, dial: dial}
	conn, err := dial(h.Context(), "tcp", to.String())
	if err != nil {
		h.Fatal(err)
	}
	s.close = func() { _ = conn.Close() }
	h.Cleanup(s.close)
	go func() {
		buf, pace := make([]byte, 32<<10), newPace(echoRate)
		for {
			if _, err := conn.Write(buf); err != nil {
				return
			}
			pace.spend(len(buf))
		}
	}()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			s.echos.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	return s
}

// again opens another such stream.
func (s *echoStream) again() *echoStream {
	s.Helper()
	return s.labHost.echoStream(s.name, s.dial, s.to)
}

// recovers waits until the stream runs, and returns how long that took.
func (s *echoStream) recovers(since time.Time) time.Duration {
	s.Helper()
	const settled, enough = 300 * time.Millisecond, 128 << 10
	before := int64(-1)
	eventually(s.T, 3*recoverTime, func() error {
		if before < 0 && time.Since(since) > settled { // what was under way has arrived
			before = s.echos.Load()
		}
		if before < 0 || s.echos.Load() < before+enough {
			return errors.New(s.name + " stands still")
		}
		return nil
	})
	took := time.Since(since)
	if took > recoverTime {
		s.Errorf("%s stood still for %v", s.name, took)
	}
	return took
}
