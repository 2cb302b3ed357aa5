package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/agent"
)

const (
	ingressFriends = `apiVersion: v1alpha1
kind: WirespanConfig
ingress:
  defaultAction: block
  rules:
    - name: web
      portSelector: {ports: [8080-8081], protocol: tcp}
      peers: [f]
    - name: echo
      portSelector: {protocol: icmpv6}
      peers: [f]
`
	ingressNobody = `apiVersion: v1alpha1
kind: WirespanConfig
ingress: {defaultAction: block}
`
	ingressNotStrangers = `apiVersion: v1alpha1
kind: WirespanConfig
ingress:
  rules:
    - name: web
      portSelector: {ports: [8080], protocol: tcp}
      peers: [f]
`
)

// scenarioIngress checks that the ingress rules have the same effect on a TUN and on a
// netstack. As nothing listens, an allowed connection is refused, and a forbidden one is
// not answered. Packages firewall and netstack test that all cases of the table have the
// same outcome on both.
func scenarioIngress(l *lab) {
	f, o := l.host("f").node(""), l.host("o").node("")
	t, n := l.host("t").node(ingressFriends), l.host("n").node(ingressFriends).unprivileged()
	token := f.found()
	for _, node := range []*labNode{o, t, n} {
		node.join(token)
	}
	l.allUp(f, o, t, n)

	for _, server := range []*labNode{t, n} {
		at := server.mustStatus().Node.Address
		f.isRefused(at, 8080)
		f.isRefused(at, 8081)
		f.mustCLI("ping", "-c", "3", "-i", "100ms", server.name)
		o.isIgnored(at, 8080)
		f.isIgnored(at, 22)
		if out, err := o.cli("ping", "-c", "1", server.name); err == nil {
			l.Errorf("%s answers a ping that no rule accepts:\n%s", server.name, out)
		}
		// Connections that the server opens itself continue, with their replies.
		server.mustCLI("ping", "-c", "3", "-i", "100ms", "o")
		server.wantIngress(at, 8080, "f", firewall.PathLocal, "web")
		server.wantIngress(at, 8080, "o", firewall.PathRefused, "")
	}

	talk := f.converses(t)
	for _, server := range []*labNode{t, n} {
		at := server.mustStatus().Node.Address
		server.configure(ingressNobody)
		server.mustCLI("reload")
		f.isIgnored(at, 8080)
		server.configure(ingressNotStrangers)
		server.mustCLI("reload")
		f.isRefused(at, 8080)
		o.isRefused(at, 22)
		o.isIgnored(at, 8080)
	}
	t.configure(ingressNobody)
	t.mustCLI("reload")
	talk() // the connection was established before
	f.isIgnored(t.mustStatus().Node.Address, 8080)
}

// knock opens a connection through the mesh and returns how that ended.
func (n *labNode) knock(at netip.Addr, port uint16) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := n.dial(ctx, "tcp", netip.AddrPortFrom(at, port).String())
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// isRefused checks that the connection is refused: then the packet has arrived.
func (n *labNode) isRefused(at netip.Addr, port uint16) {
	n.Helper()
	eventually(n.T, 25*time.Second, func() error {
		if err := n.knock(at, port); !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("%s to port %d of %s: %w, want it to be refused", n.name, port, at, err)
		}
		return nil
	})
}

// isIgnored checks that there is no answer.
func (n *labNode) isIgnored(at netip.Addr, port uint16) {
	n.Helper()
	var timeout net.Error
	if err := n.knock(at, port); !errors.As(err, &timeout) || !timeout.Timeout() {
		n.Errorf("%s to port %d of %s: %v, want no answer", n.name, port, at, err)
	}
}

// wantIngress checks what wirespan explain says about a packet from the mesh.
func (n *labNode) wantIngress(at netip.Addr, port uint16, from string, path firewall.Path, rule string) {
	n.Helper()
	out := n.mustCLI("explain", netip.AddrPortFrom(at, port).String(), "--from", from, "-o", "json")
	var e agent.Explanation
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		n.Fatalf("explain: %v\n%s", err, out)
	}
	if e.Plan.Path != path || e.Plan.Rule != rule || e.Plan.From != from || e.Difference != "" {
		n.Errorf("%s explains port %d from %s as\n%s\nwant it %s by rule %q", n.name, port, from, out, path, rule)
	}
}

// converses opens a connection to a listener on the other node. It returns a function
// that sends a line over it and checks the echo.
func (n *labNode) converses(to *labNode) func() {
	n.Helper()
	at := netip.AddrPortFrom(to.mustStatus().Node.Address, 8080).String()
	var listener net.Listener
	if err := to.inside(func() (err error) { listener, err = net.Listen("tcp", at); return err }); err != nil {
		n.Fatal(err)
	}
	accepted, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		close(accepted)
		if err == nil {
			_, _ = io.Copy(conn, conn) // until the other side closes
			_ = conn.Close()
		}
	}()
	conn, err := n.dial(context.Background(), "tcp", at)
	if err != nil {
		n.Fatal(err)
	}
	<-accepted
	_ = listener.Close() // from here on the port refuses connections
	n.Cleanup(func() { _ = conn.Close(); <-ended })
	lines := bufio.NewReader(conn)
	talk := func() {
		n.Helper()
		_ = conn.SetDeadline(time.Now().Add(25 * time.Second))
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			n.Fatalf("an established connection: %v", err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "hello\n" {
			n.Fatalf("an established connection: %q, %v", line, err)
		}
	}
	talk()
	return talk
}
