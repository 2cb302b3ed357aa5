package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
)

// scenarioRelayIPv6 checks a relay that its users reach by IPv6 alone. The addresses that it gives
// are of IPv4.
func scenarioRelayIPv6(l *lab) { l.relaysOverIPv6(true) }

// scenarioRelayIPv6Only is scenarioRelayIPv6 with a relay that has no IPv4 at all.
func scenarioRelayIPv6Only(l *lab) { l.relaysOverIPv6(false) }

// relaysOverIPv6 checks that tunnel packets of 1,420 bytes pass by a relay, though they have 1,504
// bytes on the way to it, and the path 1,500: none is lost.
func (l *lab) relaysOverIPv6(dual bool) {
	l.Helper()
	l.isPublic()
	q := l.host("q").node(settings("relay: offer", `discoveryListen: ":443"`))
	b := l.host("b").node("")
	for _, n := range []*labNode{q, b} {
		n.ip("address add " + n.public6() + "/64 dev eth0 nodad")
		n.ip("route add default via 2001:db8::ffff dev eth0") // nobody
	}
	if !dual {
		q.ip("-4 address flush dev eth0")
	}
	ra, rc := l.host("ra"), l.host("rc")
	a, c := l.behindWall("a", ra, q.labHost).node(""), l.behindWall("c", rc, q.labHost).node("")
	token := q.found()
	for _, n := range []*labNode{a, b, c} {
		n.join(token)
	}
	l.allUp(q, a, b, c)
	for _, pair := range [][2]*labNode{{a, b}, {a, c}, {c, b}, {a, q}} {
		eventually(l.T, relayTime, func() error { return relayedOnly(pair[0], pair[1], true) })
	}
	at, err := a.relayedAt("q")
	if err != nil || at.Addr().Is4() != dual {
		l.Errorf("a is relayed at %v: %v", at, err)
	}
	a.serveFlows()
	for _, pair := range [][2]*labNode{{a, b}, {b, a}, {a, c}, {c, a}, {a, q}, {q, a}} {
		pair[0].pingsWhole(pair[1].mustStatus().Node.Address)
	}
	for _, m := range q.mustStatus().Relaying.Members {
		if m.DroppedPackets != 0 {
			l.Errorf("the relay has dropped packets: %+v", m)
		}
	}
	for _, n := range []*labNode{b, c} {
		n.stream(netip.AddrPortFrom(a.mustStatus().Node.Address, flowPort).String(), a.proc, n.proc, q.proc)
	}
	for _, n := range []*labNode{a, c} {
		for _, r := range n.mustStatus().Relays {
			if r.Transport != "udp" || !r.Server.Addr().Is6() {
				l.Errorf("%s has the relay %+v", n.name, r)
			}
		}
	}
	in, out := ra.fragments()
	l.Logf("fragments from a %d, to a %d", out, in)
	if in < 100 || out < 100 {
		l.Error("full packets were not fragmented")
	}
}

// public6 returns the host's public IPv6 address on the switch.
func (h *labHost) public6() string {
	var n int
	_, _ = fmt.Sscanf(h.address, "203.0.113.%d", &n) // as isPublic says
	return fmt.Sprintf("2001:db8::%x", n)
}

// behindWall adds a host with nothing but IPv6, public, behind a router that admits what is an
// answer, and lets no UDP out but to port 443. Its addresses are known to one other host.
func (l *lab) behindWall(name string, router, server *labHost) *labHost {
	l.Helper()
	h := l.namespace(name)
	network := fmt.Sprintf("2001:db8:%s:", regexp.MustCompile(`\w+$`).FindString(router.public6()))
	h.address = network + ":2"
	l.must("ip", "-n", router.ns, "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", h.ns)
	router.ip("address add " + router.public6() + "/64 dev eth0 nodad")
	router.ip("address add " + network + ":1/64 dev lan0 nodad")
	router.ip("link set lan0 up")
	h.ip("address add " + h.address + "/64 dev eth0 nodad")
	h.ip("link set eth0 up")
	h.ip("route add default via " + network + ":1")
	server.ip("route add " + network + ":/64 via " + router.public6())
	err := router.inside(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0) })
	if err != nil {
		l.Fatal(err)
	}
	router.nft(`table ip6 wall {
	counter in {}
	counter out {}
	chain prerouting {
		type filter hook prerouting priority -450;
		iifname "eth0" exthdr frag exists counter name "in"
		iifname "lan0" exthdr frag exists counter name "out"
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "lan0" udp dport != 443 drop
		iifname "lan0" accept
	}
}
`)
	return h
}

// fragments returns how many fragments have reached a router from outside and from inside.
func (h *labHost) fragments() (in, out int) {
	h.Helper()
	text := h.mustExec("nft", "list", "counters", "table", "ip6", "wall")
	found := regexp.MustCompile(`packets (\d+)`).FindAllStringSubmatch(text, -1)
	if len(found) != 2 {
		h.Fatal(text)
	}
	in, _ = strconv.Atoi(found[0][1])
	out, _ = strconv.Atoi(found[1][1])
	return in, out
}
