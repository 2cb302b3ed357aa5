package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// fixedMTU configures a tunnel with the MTU for an underlay of 1500.
const fixedMTU = `apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
mtu: 1420
`

// scenarioUnderlayMTU checks a tunnel whose packets do not fit the underlay: everything
// arrives nevertheless, and the agents report the condition until it is corrected.
func scenarioUnderlayMTU(l *lab) {
	a, b := l.host("a").node(fixedMTU), l.host("b").node(fixedMTU)
	b.join(a.found())
	l.allUp(a, b)
	a.pings(b)
	a.serveFlows()
	b.serveFlows()
	for i, mtu := range []int{1400, 1280, 1500} {
		for _, n := range []*labNode{a, b} {
			n.ip(fmt.Sprintf("link set eth0 mtu %d", mtu))
			n.ip(fmt.Sprintf("address add 10.94.0.%d/32 dev lo", i)) // a change of addresses makes the agents forget
		}
		a.tellsMTU(b, mtu < 1500)
		b.tellsMTU(a, mtu < 1500)
	}
}

// tellsMTU waits until the agent reports, or no longer reports, that the tunnel's
// packets to a peer do not fit the path. The agent detects that when it sends, and
// forgets it when routes or addresses change. If it has found out by probes what fits, it
// sends nothing larger, and tries again after a minute whether more does.
func (n *labNode) tellsMTU(peer *labNode, want bool) {
	n.Helper()
	to := netip.AddrPortFrom(peer.mustStatus().Node.Address, flowPort).String()
	eventually(n.T, 90*time.Second, func() error {
		n.stream(to, n.proc, peer.proc)
		n.mustCLI("reload") // makes the agent check everything
		s, err := n.status()
		if err != nil {
			return err
		}
		told := false
		for _, c := range s.Conditions {
			told = told || c.Type == mesh.ConditionType("UnderlayMTU") && peer.isAt(netip.MustParseAddr(c.Subject)) ||
				c.Type == mesh.ConditionPathMTU && c.Subject == peer.name
		}
		if told != want {
			return fmt.Errorf("conditions of %s: %+v", n.name, s.Conditions)
		}
		return nil
	})
}

// streamBytes is the length of a stream in each direction.
const streamBytes = 4 << 20

// stream sends data through a TCP connection in both directions. The data planes on the
// path must keep running.
func (h *labHost) stream(to string, planes ...*labProcess) {
	h.Helper()
	conn, err := h.dial(h.Context(), "tcp", to)
	if err == nil {
		err = flow{Seed: 1, Lengths: [2]uint64{streamBytes, streamBytes}}.start(conn)
	}
	for _, p := range planes {
		err = errors.Join(err, p.running())
	}
	if err != nil {
		h.Fatal(err)
	}
}

// scenarioNarrowPath checks that packets arrive although they are too large for a link
// in the middle of the path: single ones and bursts, of all sizes. The router may tell
// nobody, and shorten the TCP connections that it sees, as many do. It fragments what
// is too large, since no packet carries a DF flag.
//
//	a ---- r ---- c
//	  1500   1280
func scenarioNarrowPath(l *lab) {
	router := l.host("r")
	a := l.host("a").tunnelEnd(1)
	c := l.behind(router, "c", 1280).tunnelEnd(2)
	a.ip("route add 192.168.8.0/24 via " + router.address)
	a.runTUN()
	c.runTUN()
	c.meet(a, a.outer(false))
	a.meet(c, c.outer(false))
	a.mustExec("ping", "-c", "1", "-w", "25", c.inner)
	c.serve()
	narrow := func() {
		l.Helper()
		s := a.sniff("eth0", func(p *sniffed) bool { return p.out && p.to.Addr().String() == c.address })
		for _, v6 := range []bool{false, true} {
			a.stream(c.at(v6), a.proc, c.proc)
			if err := (interopCase{mtu: 1420}).datagrams(a, c, v6); err != nil {
				l.Error(err)
			}
		}
		for _, size := range []string{"1100", "1200", "1300", "1372"} {
			a.mustExec("ping", "-c", "1", "-w", "10", "-s", size, c.inner6())
		}
		sent := s.stop()
		if len(sent) == 0 {
			l.Error("no packet was captured")
		}
		for i := range sent {
			if sent[i].keepWhole {
				l.Fatalf("with DF: %v", &sent[i])
			}
		}
	}
	narrow()
	router.nft(`table ip silent {
	chain output { type filter hook output priority filter; icmp type destination-unreachable drop; }
	chain forward { type filter hook forward priority mangle; tcp flags syn tcp option maxseg size set 1200; }
}`)
	narrow()
	for _, e := range []*tunnelEnd{a, c} { // each packet is on the link by itself
		e.mustExec("ethtool", "-K", "eth0", "tx-udp-segmentation", "off", "gso", "off")
	}
	narrow()
}

// behind adds a host in a network of its own, 192.168.8.0/24, with the given MTU.
func (l *lab) behind(router *labHost, name string, mtu int) *labHost {
	l.Helper()
	h := l.namespace(name)
	h.address = "192.168.8.2"
	size := fmt.Sprint(mtu)
	l.must("ip", "-n", router.ns, "link", "add", "far0", "mtu", size, "type", "veth", "peer", "name", "eth0", "mtu", size, "netns", h.ns)
	router.ip("address add 192.168.8.1/24 dev far0")
	router.ip("link set far0 up")
	h.ip("address add 192.168.8.2/24 dev eth0")
	h.ip("link set eth0 up")
	h.ip("route add default via 192.168.8.1")
	err := router.inside(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	if err != nil {
		l.Fatal(err)
	}
	return h
}
