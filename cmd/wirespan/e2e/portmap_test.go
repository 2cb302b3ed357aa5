package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// mappingLifetime is what the gateways grant by PCP, in seconds.
const mappingLifetime = 12

// upnpRouter is a router with miniupnpd. The network outside, 11.90.0.0/24, has addresses that
// count as public.
type upnpRouter struct {
	*labHost
	outside string
	config  string
	proc    *labProcess
}

// outside gives a host on the switch an address that counts as public.
func (h *labHost) outside() string {
	h.Helper()
	address := strings.Replace(h.address, "10.", "11.", 1)
	h.ip("address add " + address + "/24 dev eth0")
	return address
}

// behindGateway adds a host behind a symmetric NAT, from which nothing that comes of WireGuard
// gets out by itself, with miniupnpd.
func (l *lab) behindGateway(name, options, more string) (*labHost, *upnpRouter) {
	l.Helper()
	router := l.host("r" + name)
	r := &upnpRouter{labHost: router, outside: router.outside(), config: filepath.Join(l.dir, "upnpd-"+name)}
	h := l.behindNAT(name, router, natNone)
	router.nft(`flush ruleset
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		jump miniupnpd
		ct state established,related accept
		iifname "lan0" udp dport 51820 ct state new drop
		iifname "lan0" accept
	}
	chain input {
		type filter hook input priority filter;
		iifname "eth0" ct state new drop
		` + more + `
	}
	chain prerouting {
		type nat hook prerouting priority dstnat;
		jump prerouting_miniupnpd
	}
	chain postrouting {
		type nat hook postrouting priority srcnat;
		jump postrouting_miniupnpd
		oifname "eth0" ip protocol udp snat ip to ` + r.outside + `:40000-50000 random,fully-random
		oifname "eth0" snat ip to ` + r.outside + `
	}
	chain miniupnpd {}
	chain prerouting_miniupnpd {}
	chain postrouting_miniupnpd {}
}
`)
	text := fmt.Sprintf(`ext_ifname=eth0
ext_ip=%s
listening_ip=lan0
min_lifetime=1
max_lifetime=%d
secure_mode=yes
uuid=9430cab0-40e9-4abb-a17b-a15e914779e%d
allow 1024-65535 192.168.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
%s
`, r.outside, mappingLifetime, l.hosts%10, options)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		l.Fatal(err)
	}
	r.start()
	return h, r
}

func (r *upnpRouter) start() {
	r.Helper()
	r.proc = r.spawn("miniupnpd-"+r.name, "miniupnpd", "-d", "-f", r.config, "-P", r.config+".pid")
}

// restart loses all mappings.
func (r *upnpRouter) restart() {
	r.Helper()
	r.proc.end(r.T, syscall.SIGKILL)
	for _, chain := range []string{"miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"} {
		r.mustExec("nft", "flush", "chain", "inet", "filter", chain)
	}
	r.start()
}

// maps returns an error unless the router maps so many ports.
func (r *upnpRouter) maps(ports int) error {
	out, err := r.exec("nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd")
	if n := strings.Count(out, "dnat ip to"); err == nil && n != ports {
		err = fmt.Errorf("%s maps %d ports, want %d: %s", r.name, n, ports, out)
	}
	return err
}

// mapped returns an error unless the node has mapped ports by a protocol.
func (n *labNode) mapped(protocol string, want ...string) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	var got []string
	for _, p := range s.PortMapping.Ports {
		if p.External.IsValid() {
			got = append(got, p.Use+" "+p.Network+" "+p.External.String())
		}
	}
	if s.PortMapping.Protocol != protocol || !slices.Equal(got, want) {
		return fmt.Errorf("%s: %+v, want %q by %s", n.name, s.PortMapping, want, protocol)
	}
	return nil
}

// scenarioPortMapping checks port mapping with miniupnpd: PCP, NAT-PMP and UPnP, each alone. A
// peer outside joins by the founder's mapped port, and reaches each node by its mapped endpoint
// alone; one has the edge build. Mappings are renewed before their short lifetime ends, and so made again after a
// restart of the gateway, and removed when the node leaves.
func scenarioPortMapping(l *lab) {
	p := l.host("p")
	p.outside()
	founder, pcpRouter := l.behindGateway("a", "enable_natpmp=yes\nenable_upnp=no", "")
	pmp, pmpRouter := l.behindGateway("b", "enable_natpmp=yes\nenable_upnp=no", "udp dport 5351 @th,64,8 2 drop")
	upnp, igdRouter := l.behindGateway("c", "enable_natpmp=no\nenable_upnp=yes", "")
	a, b, c, outside := founder.node(""), pmp.node(""), upnp.node(""), p.node("")
	b.binary = buildWith(l.T, "edge,grpcnotrace")
	a.found()
	founderMapped := func() error {
		return a.mapped("PCP", "wireguard udp "+pcpRouter.outside+":51820", "discovery tcp "+pcpRouter.outside+":51820")
	}
	eventually(l.T, 15*time.Second, founderMapped)
	var token string
	eventually(l.T, 10*time.Second, func() error {
		data, err := os.ReadFile(a.path("join-token"))
		if err != nil {
			return err
		}
		token = strings.TrimSpace(string(data))
		t, err := config.ParseToken(token)
		if err == nil && !slices.Contains(t.Servers, pcpRouter.outside+":51820") {
			err = fmt.Errorf("the join token names %q", t.Servers)
		}
		return err
	})
	for _, n := range []*labNode{outside, b, c} {
		n.join(token)
	}
	eventually(l.T, 20*time.Second, func() error {
		return errors.Join(b.mapped("NAT-PMP", "wireguard udp "+pmpRouter.outside+":51820"),
			c.mapped("UPnP", "wireguard udp "+igdRouter.outside+":51820"))
	})
	nodes := []*labNode{c, b, a} // the founder leaves last
	for i, router := range []*upnpRouter{igdRouter, pmpRouter, pcpRouter} {
		n := nodes[i]
		eventually(l.T, 20*time.Second, func() error {
			view, err := outside.peer(n.name)
			if want := netip.MustParseAddrPort(router.outside + ":51820"); err == nil && (view.State != mesh.PeerStateUp || view.Endpoint != want) {
				err = fmt.Errorf("%s is %s at %v, want %v", n.name, view.State, view.Endpoint, want)
			}
			return err
		})
		outside.pings(n)
	}
	if m := b.netcheck().PortMapping; m.Protocol != "NAT-PMP" || m.External.String() != pmpRouter.outside || m.Gateway != netip.MustParseAddr("192.168.3.1") {
		l.Errorf("netcheck says %+v", m)
	}
	a.restart() // it takes over its mappings, which the router knows by their nonce
	eventually(l.T, 10*time.Second, founderMapped)
	pcpRouter.restart() // by NAT-PMP it is noticed after a minute, which a test in virtual time shows
	took := eventually(l.T, mappingLifetime*time.Second, func() error { return pcpRouter.maps(2) })
	l.Logf("mapped again %s after the restart", took.Round(time.Millisecond))
	for i, router := range []*upnpRouter{igdRouter, pmpRouter, pcpRouter} {
		nodes[i].mustCLI("down")
		if err := router.maps(0); err != nil {
			l.Errorf("after down: %v", err)
		}
	}
}
