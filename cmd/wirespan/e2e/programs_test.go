package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/wirespan/wirespan/mesh/control"
)

// scenarioPrograms checks the ways between programs and the mesh on a node without
// privileges: proxies, forwards, names, exec and nc, with programs that users have.
func scenarioPrograms(l *lab) {
	a, c := l.host("a").node(""), l.host("c").node("").unprivileged()
	c.configure(settings("backend: netstack",
		"localForwards: [\"8081:a:8000\", \""+c.path("l")+":a:8000\", \"7001:a:7000/udp\"]",
		"meshForwards: [\"80:127.0.0.1:8080\", \"81:127.0.0.1:8080,allow=nobody\", \"82:"+c.path("m")+",allow=a\", \"7000:127.0.0.1:7000/udp\"]",
		"proxy: {listen: [1080, "+c.path("p")+"]}",
		"dns: {listen: [5300]}",
	))
	token := a.found()
	c.join(token)
	l.allUp(a, c)
	far, near := a.mustStatus().Node.Address, c.mustStatus().Node.Address
	a.hello(netip.AddrPortFrom(far, 8000), "a")
	c.hello(netip.MustParseAddrPort("127.0.0.1:8080"), "c")
	a.answersTwice(netip.AddrPortFrom(far, 7000))
	c.answersTwice(netip.MustParseAddrPort("127.0.0.1:7000"))

	c.curls("hello from a", "-x", "http://127.0.0.1:1080", "http://a:8000/")
	c.curls("hello from a", "-x", "http://[::1]:1080", "http://a.mesh:8000/")
	c.curls("hello from a", "-p", "-x", "http://127.0.0.1:1080", "http://a.mesh:8000/") // CONNECT
	c.curls("hello from a", "--socks5-hostname", "127.0.0.1:1080", "http://A.Mesh:8000/")
	c.curls("hello from a", "--socks5", "127.0.0.1:1080", fmt.Sprintf("http://[%s]:8000/", far))
	c.curls("hello from a", "http://127.0.0.1:8081/")
	c.curls("hello from a", "--unix-socket", c.path("l"), "http://any/")
	c.curls("no node of the mesh is named", "-x", "http://127.0.0.1:1080", "http://b.mesh/")
	c.curls("not allowed", "-x", "http://127.0.0.1:1080", "http://127.0.0.1:8080/")
	c.curls("not allowed", "-x", "http://127.0.0.1:1080", "http://192.0.2.1/")
	c.curls("this is a proxy", "http://127.0.0.1:1080/")

	if out := c.mustExec(c.binary, "exec", "--control-socket", c.path("s"), "--", "curl", "-sS", "http://a:8000/"); !strings.Contains(out, "hello from a") {
		l.Errorf("exec: %s", out)
	}
	if out, err := c.exec("sh", "-c", "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | "+strings.Join(c.argv("nc", "a", "8000"), " ")); !strings.Contains(out, "hello from a") {
		l.Errorf("nc: %s, %v", out, err)
	}

	a.curls("hello from c", fmt.Sprintf("http://[%s]/", near))
	if out, err := a.exec("curl", "-sS", "-m", "10", fmt.Sprintf("http://[%s]:81/", near)); err == nil || strings.Contains(out, "timed out") {
		l.Errorf("a forward for others: %s, %v", out, err)
	}
	if out, err := a.exec("curl", "-sS", "-m", "10", fmt.Sprintf("http://[%s]:8080/", near)); err == nil || strings.Contains(out, "timed out") {
		l.Errorf("a port that is not forwarded: %s, %v", out, err)
	}
	for _, name := range []string{"UDP to the mesh", "UDP from the mesh"} {
		host, to := c.labHost, netip.MustParseAddrPort("127.0.0.1:7001")
		if name == "UDP from the mesh" {
			host, to = a.labHost, netip.AddrPortFrom(near, 7000)
		}
		if err := host.asks(to); err != nil {
			l.Errorf("%s: %v", name, err)
		}
	}
	c.proxiesBulk(a)
	names(a, c)
	reforwards(a, c)
}

// hello serves HTTP on the host: "hello from NAME".
func (n *labNode) hello(at netip.AddrPort, name string) {
	n.Helper()
	var l net.Listener
	if err := n.inside(func() (err error) { l, err = net.Listen("tcp", at.String()); return err }); err != nil {
		n.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from", name) })}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	n.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
}

// answersTwice answers each datagram on the host with the same, twice: the second is one that
// nobody asked for.
func (n *labNode) answersTwice(at netip.AddrPort) {
	n.Helper()
	var conn *net.UDPConn
	if err := n.inside(func() (err error) { conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); return err }); err != nil {
		n.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 65536)
		for {
			k, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			for range 2 {
				_, _ = conn.WriteToUDPAddrPort(b[:k], from)
			}
		}
	}()
	n.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
}

// asks sends a datagram until both copies of it have come back.
func (h *labHost) asks(to netip.AddrPort) error {
	conn, err := h.dialUDP(to)
	if err != nil {
		return err
	}
	defer conn.Close()
	b := make([]byte, 100)
	for try := range 20 {
		text := fmt.Sprint("question ", try)
		if _, err = conn.Write([]byte(text)); err != nil {
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		copies := 0
		for copies < 2 {
			var k int
			if k, err = conn.Read(b); err != nil {
				break
			}
			if string(b[:k]) == text {
				copies++
			}
		}
		if copies == 2 {
			return nil
		}
	}
	return fmt.Errorf("no answer from %v: %w", to, err)
}

// curls runs curl on the host and looks for a text in what it says.
func (n *labNode) curls(want string, args ...string) {
	n.Helper()
	out, err := n.exec(append([]string{"curl", "-sS", "-m", "20"}, args...)...)
	if !strings.Contains(out, want) {
		n.Errorf("curl %q: %q, %v; want %q", args, out, err, want)
	}
}

// proxiesBulk fetches much through each way at once, and checks each byte.
func (n *labNode) proxiesBulk(from *labNode) {
	n.Helper()
	web := from.web()
	socks, err := proxy.SOCKS5("tcp", "127.0.0.1:1080", nil, dialerIn{n.labHost})
	if err != nil {
		n.Fatal(err)
	}
	ways := map[string]dialer{
		"socks":   socks.(proxy.ContextDialer).DialContext,
		"connect": n.through,
		"socket": func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := n.dial(ctx, "unix", n.path("p"))
			if err != nil {
				return nil, err
			}
			d, err := proxy.SOCKS5("unix", n.path("p"), nil, fixed{conn})
			if err != nil {
				return nil, err
			}
			return d.Dial("tcp", address)
		},
	}
	for name, dial := range ways {
		for range 3 {
			body, err := fetch(dial, web.address)
			if err != nil || sha256.Sum256(body) != web.sum {
				n.Errorf("%s: %d bytes, %v", name, len(body), err)
			}
		}
	}
}

// dialerIn dials on a host.
type dialerIn struct{ *labHost }

func (d dialerIn) Dial(network, address string) (net.Conn, error) {
	return d.dial(context.Background(), network, address)
}

// fixed is a dialer with one connection.
type fixed struct{ conn net.Conn }

func (f fixed) Dial(string, string) (net.Conn, error) { return f.conn, nil }

// names asks the DNS servers of two nodes for each other, in the mesh and on the host.
func names(a, c *labNode) {
	far, near := a.mustStatus().Node.Address, c.mustStatus().Node.Address
	for _, ask := range []struct {
		node   *labNode
		server string
	}{
		{a, netip.AddrPortFrom(far, 53).String()},  // its own, in the kernel
		{a, netip.AddrPortFrom(near, 53).String()}, // the other's, in its netstack
		{c, "127.0.0.1:5300"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return ask.node.dial(ctx, network, ask.server)
			}}
			for name, want := range map[string]netip.Addr{"a.mesh.": far, "c.mesh.": near} {
				eventually(a.T, within, func() error {
					got, err := r.LookupNetIP(a.Context(), "ip6", name)
					if err != nil || len(got) != 1 || got[0] != want {
						return fmt.Errorf("%s by %s asked at %s: %v, %w", name, network, ask.server, got, err)
					}
					return nil
				})
			}
			if got, err := r.LookupAddr(a.Context(), near.String()); err != nil || len(got) == 0 || got[0] != "c.mesh." {
				a.Errorf("reverse by %s asked at %s: %v, %v", network, ask.server, got, err)
			}
		}
	}
	if by, err := control.NewClient(c.path("s")).Lookup(a.Context(), "a"); err != nil || len(by) == 0 || by[0] != far {
		a.Errorf("lookup: %v, %v", by, err)
	}
}

// reforwards checks that a reload changes forwards and leaves the connections of others
// alone, and that a port that is taken is a condition until it is free.
func reforwards(a, c *labNode) {
	stays, err := c.dial(a.Context(), "tcp", "127.0.0.1:8081")
	if err != nil {
		a.Fatal(err)
	}
	defer stays.Close()
	held, err := c.dial(a.Context(), "unix", c.path("l"))
	if err != nil {
		a.Fatal(err)
	}
	defer held.Close()
	var taken net.Listener
	if err := c.inside(func() (err error) { taken, err = net.Listen("tcp", "127.0.0.1:9000"); return err }); err != nil {
		a.Fatal(err)
	}
	defer taken.Close()
	c.configure(settings("backend: netstack", `localForwards: ["8081:a:8000", "9000:a:8000"]`, "proxy: {listen: [1081]}"))
	c.own(c.path("config.yaml"))
	c.mustCLI("reload")
	if _, err := stays.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		a.Error(err)
	}
	if text, err := io.ReadAll(stays); err != nil || !bytes.Contains(text, []byte("hello from a")) {
		a.Errorf("a forward that stays: %q, %v", text, err)
	}
	_ = held.SetReadDeadline(time.Now().Add(within))
	if _, err := held.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		a.Errorf("a forward that is gone: %v", err)
	}
	c.curls("hello from a", "-x", "http://127.0.0.1:1081", "http://a:8000/")
	if out, err := c.exec("curl", "-sS", "-m", "5", "-x", "http://127.0.0.1:1080", "http://a:8000/"); err == nil {
		a.Errorf("the former proxy answers: %s", out)
	}
	c.condition("ForwardUnavailable", "9000")
	_ = taken.Close()
	eventually(a.T, within, func() error {
		out, err := c.exec("curl", "-sS", "-m", "5", "http://127.0.0.1:9000/")
		if !strings.Contains(out, "hello from a") {
			return fmt.Errorf("%s, %w", out, err)
		}
		return nil
	})
	c.calm()
}
