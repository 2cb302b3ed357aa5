package e2e

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// natKind is a kind of NAT. All of them drop what comes in unasked for the router itself:
// otherwise Linux chooses another port for a flow that such a packet came before.
type natKind string

// Kinds of NATs, named as netcheck does.
const (
	natNone           natKind = "none"
	natFullCone       natKind = "full cone"
	natPortRestricted natKind = "port-restricted"
	natSymmetric      natKind = "symmetric"
	natUDPBlocked     natKind = "UDP blocked"
	natProxied        natKind = "HTTPS by proxy"
)

// natBlocks are rules for what does not leave at all.
var natBlocks = map[natKind]string{
	natUDPBlocked: `iifname "lan0" meta l4proto udp drop`,
	natProxied:    `iifname "lan0" drop`,
}

// natRules are the rules of each kind; HOST and ROUTER stand for addresses.
var natRules = map[natKind]string{
	natFullCone: `
	chain prerouting {
		type nat hook prerouting priority dstnat;
		iifname "eth0" meta l4proto udp dnat to HOST
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "eth0" snat to ROUTER
	}`,
	natPortRestricted: `
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "eth0" masquerade
	}`,
	natSymmetric: `
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "eth0" meta l4proto udp masquerade to :40000-50000 random,fully-random
		oifname "eth0" masquerade
	}`,
}

// behindNAT adds a host in a network of its own, 192.168.N.0/24. Its router, the N-th host
// on the switch, translates and admits only what the kind of NAT does.
func (l *lab) behindNAT(name string, router *labHost, kind natKind) *labHost {
	l.Helper()
	h := l.namespace(name)
	network := "192.168." + router.address[strings.LastIndexByte(router.address, '.')+1:]
	h.address = network + ".2"
	l.must("ip", "-n", router.ns, "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", h.ns)
	router.ip("address add " + network + ".1/24 dev lan0")
	router.ip("link set lan0 up")
	h.ip("address add " + h.address + "/24 dev eth0")
	h.ip("link set eth0 up")
	h.ip("route add default via " + network + ".1")
	err := router.inside(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	if err != nil {
		l.Fatal(err)
	}
	router.nft(`table ip nat {
	chain blocked {
		` + natBlocks[kind] + `
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		jump blocked
		iifname "lan0" accept
		ct state established,related accept
		ct status dnat accept
	}
	chain input {
		type filter hook input priority filter;
		iifname "eth0" ct state new drop
	}` + strings.NewReplacer("HOST", h.address, "ROUTER", router.address).Replace(cmp.Or(natRules[kind], natRules[natPortRestricted])) + `
}
`)
	return h
}

const harvesting = `apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
harvestExtraEndpoints: true
`

// scenarioHarvest checks harvested endpoints, without STUN: a is behind a NAT that rewrites
// ports; b, which a can reach, publishes the address at which it sees a, and c finds a there.
func scenarioHarvest(l *lab) {
	b, c := l.host("b").node(harvesting+"---\n"+settings("answerStun: false")), l.host("c").node(harvesting)
	router := l.host("r")
	a := l.behindNAT("a", router, natSymmetric).node(harvesting)
	token := b.found()
	a.join(token)
	c.join(token)
	l.Logf("all up %s after the last start", l.allUp(a, b, c).Round(time.Millisecond))

	var observed netip.AddrPort
	eventually(l.T, 45*time.Second, func() error { // b harvests at its next tick
		view, err := b.peer("a")
		if err != nil {
			return err
		}
		observed = view.Endpoint
		specs, err := resources[labSpec](c, "kubespanpeerspecs")
		if err != nil {
			return err
		}
		if known := specs[view.PublicKey.String()].Endpoints; !slices.Contains(known, observed) {
			return fmt.Errorf("c knows a at %v, not at %v where b sees it", known, observed)
		}
		return nil
	})
	if observed.Addr().String() != router.address || observed.Port() < 40000 || observed.Port() > 50000 {
		l.Errorf("b sees a at %v, not at the router's %s with a rewritten port", observed, router.address)
	}
	id := a.mustStatus().Node.ID
	for _, n := range []*labNode{a, c} {
		affiliates, err := resources[labAffiliate](n, "affiliates")
		if err != nil {
			l.Fatal(err)
		}
		own := affiliates[id].KubeSpan.Endpoints
		if n == a && slices.Contains(own, observed) {
			l.Errorf("a announces %v, which it cannot know: %v", observed, own)
		}
		if n == c && !slices.Contains(own, observed) {
			l.Errorf("c's affiliate a lacks %v: %v", observed, own)
		}
	}
	a.pings(c)
	c.pings(a)
}

// scenarioUDPBlocked checks that a node without a tunnel to the discovery server's host
// still reaches the server, since that traffic never uses the tunnel.
func scenarioUDPBlocked(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	b.nft(fmt.Sprintf(`table inet block {
	chain in { type filter hook input priority filter; ip saddr %[1]s meta l4proto udp drop; ip6 saddr fd90::1 meta l4proto udp drop; }
	chain out { type filter hook output priority filter; ip daddr %[1]s meta l4proto udp drop; ip6 daddr fd90::1 meta l4proto udp drop; }
}
`, a.address))
	b.restart()
	l.allUp(b, c)
	eventually(l.T, 20*time.Second, func() error {
		s, err := b.status()
		if err != nil {
			return err
		}
		if d := s.Discovery; len(d) != 1 || !d[0].Connected {
			return fmt.Errorf("discovery of b: %+v", d)
		}
		return nil
	})
	if err := b.sees("a"); err == nil {
		l.Error("b sees a up, although UDP between them is blocked")
	}
}
