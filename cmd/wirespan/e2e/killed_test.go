package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// echoPort is where repeats listens.
const echoPort = 9001

// repeats sends back what comes to the host over TCP.
func (h *labHost) repeats() {
	h.Helper()
	var l net.Listener
	err := h.inside(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", echoPort))
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.Cleanup(func() { _ = conn.Close() })
			go func() { _, _ = io.Copy(conn, conn) }() // until the other side has enough
		}
	}()
}

// dialsEcho connects to what repeats.
func (h *labHost) dialsEcho(a netip.Addr) net.Conn {
	h.Helper()
	var conn net.Conn
	eventually(h.T, within, func() (err error) {
		ctx, cancel := context.WithTimeout(h.Context(), 5*time.Second)
		defer cancel()
		conn, err = h.dial(ctx, "tcp", netip.AddrPortFrom(a, echoPort).String())
		return err
	})
	h.Cleanup(func() { _ = conn.Close() })
	return conn
}

// says sends a line, which has to come back in time.
func (h *labHost) says(conn net.Conn, line string) {
	h.Helper()
	_ = conn.SetDeadline(time.Now().Add(40 * time.Second)) // TCP's own waits grow
	got := make([]byte, len(line))
	if _, err := io.WriteString(conn, line); err != nil {
		h.Errorf("%s to %s: %v", line, conn.RemoteAddr(), err)
	} else if _, err := io.ReadFull(conn, got); err != nil || string(got) != line {
		h.Errorf("%s to %s came back as %q: %v", line, conn.RemoteAddr(), got, err)
	}
}

// refused tries to connect by TCP. The kernel says no at once, or it stays silent.
func (h *labHost) refused(a netip.Addr) error {
	h.Helper()
	err := h.inside(func() error {
		conn, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", netip.AddrPortFrom(a, echoPort).String())
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	if err == nil {
		h.Errorf("%s connects to %s", h.name, a)
	}
	return err
}

// routesTo is what the kernel says of a way, also why there is none.
func (h *labHost) routesTo(a netip.Addr, how ...string) string {
	h.Helper()
	out, err := h.exec(append([]string{"ip", "route", "get", a.String()}, how...)...)
	if err != nil {
		out += err.Error()
	}
	return out
}

// closed checks that nothing goes to the mesh address of a node that runs, nor to
// networks of a site.
func (h *labHost) closed(ula netip.Addr, networks ...netip.Addr) {
	h.Helper()
	if err := h.refused(ula); !errors.Is(err, unix.EHOSTUNREACH) {
		h.Errorf("%s to a mesh address: %v, want %v", h.name, err, unix.EHOSTUNREACH)
	}
	if out := h.routesTo(ula); !strings.Contains(out, "No route to host") && !strings.Contains(out, "unreachable") {
		h.Errorf("%s has a route to a mesh address: %s", h.name, out)
	}
	for _, a := range networks {
		h.Logf("%s to %s: %v", h.name, a, h.refused(a))
		if out := h.routesTo(a, "mark", "0x40"); !strings.Contains(out, "No route to host") && !strings.Contains(out, "unreachable") {
			h.Errorf("%s has a route to %s: %s", h.name, a, out)
		}
	}
}

// scenarioKilled: without its agent a node refuses what belongs into the tunnel,
// and nothing of it is on the wire. Connections outlive the agent, if it is back
// in time.
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
	subnet, _ := ula.Prefix(64) // of an address that has as many bits
	detector := l.detectLeaks([]netip.Prefix{subnet, netip.MustParsePrefix("10.61.2.0/24"), netip.MustParsePrefix("fd61:2::/64")}, n)
	conns := []net.Conn{n.dialsEcho(ula), n.dialsEcho(s.v4), n.dialsEcho(s.v6)}
	for _, conn := range conns {
		n.says(conn, "before")
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		n.proc.end(l.T, signal)
		n.closed(ula, s.addresses()...)
		for _, conn := range conns { // what is on its way when the agent ends
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
