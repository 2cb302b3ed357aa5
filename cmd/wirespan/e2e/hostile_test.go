package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// scenarioConflicts checks that an agent that must not start says why and ends.
func scenarioConflicts(l *lab) {
	h := l.host("a")
	a := h.node("")
	token := a.found()

	second := *a
	second.flags = append(slices.Clone(a.flags), "--control-socket", a.path("s2"))
	second.refuses("another agent is using it", "up")

	h.name = "a2"
	founder := h.node("")
	founder.refuses("address already in use", "up")
	h.name = "a3"
	joiner := h.node("")
	joiner.refuses("51820", "up", "--join", joiner.keep(token))

	b := l.host("b").node("").unprivileged()
	b.refuses("no CAP_NET_ADMIN in this network namespace", "up", "--backend", "tun")

	c := l.host("c").node(h.mustExec(l.binary, "gen", "config", "--discovery-endpoint", "http://10.90.0.99:3000"))
	c.up()
	eventually(l.T, 30*time.Second, func() error {
		s, err := c.status()
		if err == nil && (len(s.Discovery) != 1 || s.Discovery[0].Error == "" || s.Ready) {
			err = fmt.Errorf("discovery %+v, ready %v", s.Discovery, s.Ready)
		}
		return err
	})
	if err := c.proc.running(); err != nil {
		l.Error(err)
	}
	if err := a.proc.running(); err != nil {
		l.Error(err)
	}
}

// scenarioWrongSecret checks a node with the right cluster id and another secret. Its
// data cannot be decrypted, which is reported once and not at every tick.
func scenarioWrongSecret(l *lab) {
	server := l.host("d").discovery()
	server.start()
	documents := server.newCluster()
	_, secret, _ := strings.Cut(documents, "clusterSecret: ")
	secret, _, _ = strings.Cut(secret, "\n")
	a, b := l.host("a").node(documents), l.host("b").node(documents)
	c := l.host("c").node(strings.Replace(documents, secret, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", 1))
	for _, n := range []*labNode{a, b, c} {
		n.up()
	}
	l.allUp(a, b)
	eventually(l.T, 15*time.Second, func() error { _, err := c.status(); return err })
	id := c.mustStatus().Node.ID
	eventually(l.T, 15*time.Second, func() error {
		if a.proc.count("WARN", id) == 0 {
			return fmt.Errorf("a does not say that it can't read c (%s)", id)
		}
		return nil
	})
	for range 3 { // each restart publishes c's data again, and each reload makes a check everything
		c.restart()
		eventually(l.T, 15*time.Second, func() error {
			s, err := c.status()
			if err == nil && (len(s.Discovery) == 0 || !s.Discovery[0].Connected) {
				err = fmt.Errorf("discovery of c: %+v", s.Discovery)
			}
			return err
		})
		a.mustCLI("reload")
	}
	if n := a.proc.count("WARN", id); n != 1 {
		l.Errorf("a says %d times that it can't read c", n)
	}
	if s := a.mustStatus(); len(s.Conditions) != 1 || s.Conditions[0].Subject != id {
		l.Errorf("conditions of a: %+v", s.Conditions)
	}
	for _, n := range []*labNode{a, b} {
		n.mustCLI("status", "--check", "ready")
	}
	c.refuses("cluster secret is another one", "status", "--check", "ready")
	c.condition("DiscoveryData", "wrong cluster secret")
	for _, n := range []*labNode{a, b, c} {
		if n.proc.count(secret) != 0 {
			l.Errorf("the log of %s shows the secret", n.name)
		}
		if err := n.proc.running(); err != nil {
			l.Error(err)
		}
	}
	l.allUp(a, b)
}

// Messages to each port in a round: so many, or as many as it takes in garbageTime.
const (
	garbageMessages = 10_000
	garbageTime     = 4 * time.Second
)

// garbageRounds is the number of rounds after which memory no longer grows.
const garbageRounds = 8

// scenarioGarbage sends random messages to each port, several times, and checks
// that everything continues to work.
func scenarioGarbage(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("")
	token := a.found()
	b.join(token)
	l.allUp(a, b)
	files, err := a.proc.descriptors()
	if err != nil {
		l.Fatal(err)
	}
	a.grows(garbageRounds, func() { a.hears(b) })

	l.allUp(a, b)
	a.pings(b)
	b.pings(a)
	eventually(l.T, 30*time.Second, func() error {
		now, err := a.proc.descriptors()
		if err == nil && now > files+10 {
			err = fmt.Errorf("a has %d open files, had %d", now, files)
		}
		return err
	})
	c := l.host("c").node("")
	c.join(token) // the discovery server still accepts new nodes
	l.allUp(a, b, c)
	if code := a.proc.exitCode(l.T, syscall.SIGTERM); code != 0 {
		l.Errorf("a ended with %d", code)
	}
}

// grows does the work until a round takes no more memory than the most before it, and
// fails if each of the rounds takes more. Until the collector's budget is reached, memory
// grows with what was allocated; beyond that it must not.
func (n *labNode) grows(rounds int, work func()) {
	n.Helper()
	const noise = 2 << 10 // KiB
	used, settled := []int{n.proc.resident(n.T)}, false
	for round := 0; round < rounds && !settled; round++ {
		work()
		now := n.proc.resident(n.T)
		settled = round > 0 && now <= slices.Max(used)+noise
		used = append(used, now)
	}
	n.Logf("%s uses %d KiB", n.name, used)
	if !settled || slices.Max(used) > used[0]+48<<10 {
		n.Errorf("%s uses more and more memory: %d KiB", n.name, used)
	}
}

// hears sends garbage to all ports of n, some of it from another host.
func (n *labNode) hears(from *labNode) {
	n.Helper()
	noise := garbage{rand.New(rand.NewChaCha8([32]byte{1}))}
	ports := net.JoinHostPort(n.address, "51820")
	udp, err := from.dial(n.Context(), "udp", ports)
	if err != nil {
		n.Fatal(err)
	}
	defer udp.Close()
	for range garbageMessages {
		_, _ = udp.Write(noise.message()) // the checks below show the result
	}
	for name, dial := range map[string]func() (net.Conn, error){
		"control socket": func() (net.Conn, error) { return net.Dial("unix", n.path("s")) },
		"gRPC port":      func() (net.Conn, error) { return from.dial(n.Context(), "tcp", ports) },
		"gRPC in TLS":    func() (net.Conn, error) { return from.dialTLS(n.Context(), ports) },
	} {
		started := time.Now()
		// Above its limit the discovery server reads an address ever more slowly.
		for sent := 0; sent < garbageMessages && time.Since(started) < garbageTime; {
			if err := n.proc.running(); err != nil {
				n.Fatal(err)
			}
			conn, err := dial()
			if err != nil {
				continue // it may refuse connections above a rate
			}
			sent += noise.pour(conn)
		}
		n.Logf("messages to the %s took %s", name, time.Since(started).Round(time.Millisecond))
	}
}

// garbage generates random messages.
type garbage struct{ *rand.Rand }

// message returns a random message. Every second one begins like a message of WireGuard.
func (g garbage) message() []byte {
	p := make([]byte, 4+g.IntN(1400))
	for i := range p {
		p[i] = byte(g.Uint32())
	}
	if g.IntN(2) == 0 {
		copy(p, []byte{byte(1 + g.IntN(4)), 0, 0, 0})
	}
	return p
}

// pour sends up to 50 messages until the other side closes the connection.
func (g garbage) pour(conn net.Conn) (sent int) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	for sent < 50 {
		sent++
		if _, err := conn.Write(g.message()); err != nil {
			break
		}
	}
	return sent
}

// dialTLS connects as a discovery client would, but accepts any certificate.
func (h *labHost) dialTLS(ctx context.Context, address string) (net.Conn, error) {
	raw, err := h.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}
