package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/wirespan/wirespan/mesh"
)

// scenarioPins checks that the others quarantine a node that comes back with another
// key, also over restarts, until it is accepted. The node has an id in Talos' form, which
// can't sign: one that signs may change its key.
func scenarioPins(l *lab) {
	server := l.host("d").discovery()
	server.start()
	documents, _, _ := strings.Cut(server.newCluster(), "# Settings of this agent")
	l.must("ip", "-n", l.prefix+"switch", "address", "add", "fd90::fe/64", "dev", "br0", "nodad")
	a, b, c := l.host("a").node(documents), l.host("b").node(documents), l.host("c").node(documents)
	a.ip("-6 route add default via fd90::fe")
	s := b.site(2)
	b.configure(documents + settings("advertisedNetworks: "+s.networks()))
	b.write(b.path(mesh.NodeIdentityFile), string(mesh.EncodeNodeIdentity(mesh.NodeIDFromBytes([32]byte{1}))))
	for _, n := range []*labNode{a, b, c} {
		n.up()
	}
	l.allUp(a, b, c)
	was := b.mustStatus().Node
	a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	detector := l.detectLeaks([]netip.Prefix{netip.MustParsePrefix("10.61.2.0/24"), netip.MustParsePrefix("fd61:2::/64")}, a)
	traffic, at := a.sendsTo(s.addresses()...), s.sinks()
	at.getsMore("all up")
	b.changesKey("kubespan-identity.yaml", "former.yaml")
	eventually(l.T, within, func() error { return b.discoveryConnected() })
	if is := b.mustStatus().Node; is.ID != was.ID || is.PublicKey == was.PublicKey {
		l.Fatalf("b came back as %+v, was %+v", is, was)
	}
	for _, n := range []*labNode{a, c} {
		n.holdsBack("b", was.ID)
	}
	traffic.goesOn(10)
	a.restart() // it now has no memory of a session
	l.allUp(a, c)
	a.holdsBack("b", was.ID)
	eventually(l.T, within, func() error { return a.lacks("b") })
	traffic.goesOn(10)
	detector.clean("while b was quarantined")

	if out, err := a.cli("accept", "nobody"); err == nil || !strings.Contains(out, `no node "nobody" waits to be accepted`) {
		l.Errorf("accept of a node that is not there: %v: %s", err, out)
	}
	a.mustCLI("accept", "b")
	a.mustCLI("explain", "b")
	if err := a.lacks("b"); err == nil {
		l.Error("a was told to accept b, and has said so, but lacks it")
	}
	c.holdsBack("b", was.ID) // each node decides for itself
	c.mustCLI("accept", was.ID)
	l.allUp(a, b, c)
	a.calm()
	c.calm()
	a.pings(b)
	at.getsMore("b is accepted")
	a.restart()
	l.allUp(a, b, c)

	b.changesKey("former.yaml", "kubespan-identity.yaml") // now the first key is the wrong one
	a.holdsBack("b", was.ID)
	l.takesNoName(documents, a, c)
}

// changesKey renames a file of the stopped agent, and starts it again.
func (n *labNode) changesKey(from, to string) {
	n.Helper()
	n.proc.end(n.T, syscall.SIGTERM)
	if err := os.Rename(n.path(from), n.path(to)); err != nil {
		n.Fatal(err)
	}
	n.up()
}

// discoveryConnected returns an error unless the node is connected to its discovery
// service.
func (n *labNode) discoveryConnected() error {
	s, err := n.status()
	if err == nil && (len(s.Discovery) != 1 || !s.Discovery[0].Connected) {
		err = fmt.Errorf("discovery of %s: %+v", n.name, s.Discovery)
	}
	return err
}

// holdsBack waits until the node has quarantined another one and reports why.
func (n *labNode) holdsBack(name, id string) {
	n.Helper()
	n.condition(mesh.ConditionIdentityChanged, name, id, "wirespan accept "+id)
	if out := n.mustCLI("get", "conflicts"); !strings.Contains(out, "IdentityChanged/"+name) {
		n.Errorf("conflicts of %s:\n%s", n.name, out)
	}
}

// takesNoName checks that a second node of the same name announces none, also over
// restarts.
func (l *lab) takesNoName(documents string, a, c *labNode) {
	l.Helper()
	e := l.host("e").node(documents)
	e.flags = append(slices.Clone(e.flags), "--nodename", "c")
	e.up()
	eventually(l.T, within, func() error { return e.discoveryConnected() })
	first := c.mustStatus().Node.PublicKey
	for range 2 {
		e.condition(mesh.ConditionNodenameWithheld, "c")
		if p, err := a.peer("c"); err != nil || p.PublicKey != first {
			l.Errorf("a calls %+v by the name of c, which was there first: %v", p, err)
		}
		a.restart()
		eventually(l.T, within, func() error { return a.sees("c") })
	}
}
