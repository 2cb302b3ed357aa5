package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// wipes removes the node's state, as installing its box anew does.
func (n *labNode) wipes() {
	n.Helper()
	entries, err := os.ReadDir(n.home)
	for _, e := range entries {
		if e.Name() != "config.yaml" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(n.home, e.Name())))
		}
	}
	if err != nil {
		n.Fatal(err)
	}
}

// copies gives the node the name and the state of another one, which may run.
func (n *labNode) copies(from *labNode) {
	n.Helper()
	for _, name := range []string{mesh.NodeIdentityFile, mesh.NodeKeyFile, mesh.KubeSpanIdentityFile, "cluster.yaml", "pins.json", "sequence.json"} {
		data, err := os.ReadFile(from.path(name))
		if err != nil {
			n.Fatal(err)
		}
		n.write(n.path(name), string(data))
	}
	n.flags = append(n.flags[:len(n.flags):len(n.flags)], "--nodename", from.name, "--hostname", from.name)
}

// scenarioClone checks that of two hosts with one state the one that started later
// withdraws, that all sides name both, and that the other one loses no ping. The clone
// takes over when the other one leaves.
func scenarioClone(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	b.join(a.found())
	l.allUp(a, b)
	address := b.mustStatus().Node.Address
	pings := a.keepsPinging(b)
	c.copies(b)
	c.up()
	for _, n := range []*labNode{a, b, c} {
		n.condition(mesh.ConditionCloned, b.address+":", c.address+":")
	}
	c.condition(mesh.ConditionCloned, "has withdrawn")
	c.hasNoLink()
	pings.stop()
	c.restart() // it is still the later one
	c.condition(mesh.ConditionCloned, "has withdrawn")
	c.hasNoLink()
	if err := a.sees("b"); err != nil {
		l.Error(err)
	}
	b.mustCLI("down")
	eventually(l.T, within, func() error {
		p, err := a.peer("b")
		if err == nil && (p.State != mesh.PeerStateUp || !c.isAt(p.Endpoint.Addr())) {
			err = fmt.Errorf("b at a: %+v", p)
		}
		return err
	})
	a.reaches(address)
}

// scenarioReinstall checks that a box that was installed anew is up at once by its new
// node id, and has its name when it is accepted.
func scenarioReinstall(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("")
	b.join(a.found())
	l.allUp(a, b)
	was := b.mustStatus().Node
	b.proc.end(l.T, syscall.SIGKILL)
	b.wipes()
	b.join(a.mustCLI("token"))
	var id string
	eventually(l.T, within, func() error {
		s, err := b.status()
		if id = ""; err == nil {
			id = s.Node.ID
		}
		if err != nil || id == was.ID {
			return errors.Join(err, fmt.Errorf("b is %q, was %q", id, was.ID))
		}
		return a.sees(id)
	})
	a.condition(mesh.ConditionDuplicateNodename, "wirespan accept "+id)
	if n := strings.Count(a.mustCLI("get", "conflicts"), "DuplicateNodename"); n != 1 {
		l.Errorf("%d conflicts of the name:\n%s", n, a.mustCLI("get", "conflicts"))
	}
	a.mustCLI("accept", id)
	if p, err := a.peer("b"); err != nil || p.PublicKey == was.PublicKey || p.State != mesh.PeerStateUp {
		l.Errorf("accepted, b is %+v, %v", p, err)
	}
	a.pings(b)
}

// scenarioGatewayLeaves checks that a network passes to another gateway when its own one
// leaves, without a packet in the clear, and that nothing is held for one that has left.
func scenarioGatewayLeaves(l *lab) {
	const network, to = "10.62.0.0/24", "10.62.0.9"
	server := l.host("d").discovery()
	server.start()
	documents, _, _ := strings.Cut(server.newCluster(), "# Settings of this agent")
	a := l.host("a").node(documents)
	gateways := settings("advertisedNetworks: [" + network + "]")
	b, c := l.host("b").node(documents+gateways), l.host("c").node(documents+gateways)
	for _, n := range []*labNode{b, c} {
		n.ip("link add lan0 type bridge")
		n.ip("address add " + to + "/24 dev lan0")
		n.ip("link set lan0 up")
	}
	a.up()
	b.up()
	l.allUp(a, b)
	a.leads(network, "b", mesh.PathTunnel)
	c.up()
	l.allUp(a, b, c)
	a.leads(network, "b", mesh.PathTunnel) // the first seen keeps it
	detector := l.detectLeaks([]netip.Prefix{netip.MustParsePrefix(network)}, a)
	traffic, atB, atC := a.sendsTo(netip.MustParseAddr(to)), b.sinks(), c.sinks()
	atB.getsMore("before")
	b.mustCLI("down")
	a.leads(network, "c", mesh.PathTunnel)
	atC.getsMore("the first gateway has left")
	traffic.goesOn(10)
	detector.clean("while the network passed on")
	a.calm()

	c.mustCLI("down")
	eventually(l.T, 10*time.Second, func() error { return a.lacks("c") })
	a.calm()
	a.explains(to, firewall.PathBypass, "")
}
