package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// relayTime is within which nodes come together by a relay, with room for a busy machine.
const relayTime = 60 * time.Second

// scenarioRelay connects nodes behind all kinds of NATs, and some that have no UDP, or nothing
// but an HTTP proxy. What no direct path joins is joined by the founder's relay.
func scenarioRelay(l *lab) {
	l.isPublic()
	p := l.host("p").node(settings("relay: offer", `discoveryListen: ":443"`))
	kinds := []natKind{natNone, natFullCone, natPortRestricted, natSymmetric, natUDPBlocked, natProxied}
	var sides [2][]*labNode
	for side := range sides {
		for _, kind := range kinds {
			sides[side] = append(sides[side], l.relayed(strings.ToLower(fmt.Sprintf("%c%d", kind[0], side+1)), kind))
		}
	}
	p.found()
	token := strings.TrimSpace(p.mustCLI("token", "--uses", "20"))
	started := time.Now()
	for _, n := range slices.Concat(sides[0], sides[1]) {
		n.join(token)
	}
	took := l.pairsUp(sides, kinds, started, func(natKind, natKind) bool { return false })
	l.logTable(kinds, took)
	for i, a := range sides[0] {
		for j, b := range sides[1] {
			a.pings(b)
			eventually(l.T, relayTime, func() error { return relayedOnly(a, b, apart(kinds[i], kinds[j])) })
		}
	}
	usage := p.mustStatus().Relaying
	if usage.Port != 443 || len(usage.Members) == 0 {
		l.Errorf("the founder relays %+v", usage)
	}
	proxied := sides[0][5]
	l.Logf("%s\n%s", p.mustCLI("status"), proxied.mustCLI("status"))
	if c := proxied.netcheck(); len(c.Relays) != 1 || c.Relays[0].Transport != "tls by proxy" ||
		slices.ContainsFunc(c.Peers, func(p mesh.PeerCheck) bool { return p.Relay != "p" || p.Direct == "" }) ||
		c.Discovery[0].Error != "" {
		l.Errorf("netcheck: %+v", c)
	}
	if out := p.mustCLI("netcheck"); !strings.Contains(out, "UDP and TCP port 443, and UDP ports 49152-49407") {
		l.Errorf("netcheck of the relay: %s", out)
	}
	if out := proxied.mustCLI("ping", "-c", "1", "n1"); !strings.Contains(out, "via p") {
		l.Errorf("ping: %s", out)
	}
}

// relayedOnly returns an error unless two nodes use a relay exactly if they have to.
func relayedOnly(a, b *labNode, want bool) error {
	there, err := a.peer(b.name)
	if err != nil {
		return err
	}
	back, err := b.peer(a.name)
	if err != nil {
		return err
	}
	if got := there.Relay != "" || back.Relay != ""; got != want {
		return fmt.Errorf("%s reaches %s at %v by the relay %q, and back at %v by %q; wanted by a relay: %v",
			a.name, b.name, there.Endpoint, there.Relay, back.Endpoint, back.Relay, want)
	}
	return nil
}

// relayed prepares a node behind a kind of NAT.
func (l *lab) relayed(name string, kind natKind) *labNode {
	l.Helper()
	if kind == natNone {
		return l.host(name).node("")
	}
	router := l.host("r" + name)
	n := l.behindNAT(name, router, kind).node("")
	if kind == natProxied {
		at := strings.TrimSuffix(n.address, "2") + "1:3128"
		router.proxies443(at)
		n.as = []string{"env", "HTTPS_PROXY=http://" + at}
	}
	return n
}

// proxies443 serves an HTTP proxy that connects to port 443 alone.
func (h *labHost) proxies443(at string) {
	h.Helper()
	var listener net.Listener
	err := h.inside(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.Context())
	h.Cleanup(func() {
		cancel()
		_ = listener.Close()
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go h.tunnels(ctx, conn)
		}
	}()
}

// tunnels serves one connection of a proxy.
func (h *labHost) tunnels(ctx context.Context, client net.Conn) {
	defer client.Close()
	in := bufio.NewReader(client)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if r.Method != http.MethodConnect || !strings.HasSuffix(r.Host, ":443") {
		_, _ = io.WriteString(client, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return
	}
	server, err := h.dial(ctx, "tcp", r.Host)
	if err != nil {
		_, _ = io.WriteString(client, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { _ = errors.Join(client.Close(), server.Close()) })()
	_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		_, _ = io.Copy(server, in)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
}

// scenarioRelayLeft checks that a relay is left for a direct path as soon as there is one,
// without a lost packet, and that a relay that dies is replaced by that of another member.
func scenarioRelayLeft(l *lab) {
	l.isPublic()
	p := l.host("p").node("")
	q, s := l.host("q").node(settings("relay: offer")), l.host("s").node(settings("relay: offer"))
	a, b := l.relayed("a", natUDPBlocked), l.relayed("b", natPortRestricted)
	token := p.found()
	for _, n := range []*labNode{q, s, a, b} {
		n.join(token)
	}
	l.allUp(p, q, s, a, b)
	eventually(l.T, relayTime, func() error { return relayedOnly(a, b, true) })

	used, other := q, s
	if view, err := a.peer("b"); err != nil {
		l.Fatal(err)
	} else if view.Relay == "s" {
		used, other = s, q
	}
	flow := a.keepsPinging(b)
	eventually(l.T, within, func() error { return a.sees("b") })
	used.proc.end(l.T, syscall.SIGKILL)
	killed := time.Now()
	eventually(l.T, relayTime, func() error {
		view, err := a.peer("b")
		if err == nil && (view.Relay != other.name || view.State != mesh.PeerStateUp || !view.Path.Works) {
			err = fmt.Errorf("a reaches b by %q (%s)", view.Relay, view.State)
		}
		return errors.Join(err, a.ping(b.mustStatus().Node.Address, "-W", "1"))
	})
	l.Logf("by the other relay %v after one died", time.Since(killed).Round(time.Millisecond))
	sent, lost := flow.end()
	l.Logf("meanwhile %d of %d pings, one each 20 ms, were lost", lost, sent)

	flow = a.keepsPinging(b)
	l.must("ip", "netns", "exec", l.prefix+"ra", "nft", "flush chain ip nat blocked")
	freed := time.Now()
	// A direct path is tried by turns with others, and on a busy machine several trials fail.
	eventually(l.T, 4*relayTime, func() error { return relayedOnly(a, b, false) })
	l.Logf("direct %v after UDP was let through", time.Since(freed).Round(time.Millisecond))
	flow.stop()
	a.pings(b)
}
