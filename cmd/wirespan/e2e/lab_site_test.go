package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// site is a host that is not in the mesh, in a network of its own. A host on the switch
// is its gateway.
//
//	     gateway eth0 --- switch
//	          |
//	10.61.N.1 lan0 fd61:N::1
//	          |
//	10.61.N.2 eth0 fd61:N::2
//	        site
type site struct {
	*labHost
	number int
	v4, v6 netip.Addr
}

// site adds the network with the given number behind the gateway.
func (h *labHost) site(number int) *site {
	h.Helper()
	s := &site{
		labHost: h.namespace(fmt.Sprintf("s%d", number)), number: number,
		v4: netip.AddrFrom4([4]byte{10, 61, byte(number), 2}),
		v6: netip.MustParseAddr(fmt.Sprintf("fd61:%d::2", number)),
	}
	h.must("ip", "-n", h.ns, "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", s.ns)
	h.ip(fmt.Sprintf("address add 10.61.%d.1/24 dev lan0", number))
	h.ip(fmt.Sprintf("address add fd61:%d::1/64 dev lan0 nodad", number))
	h.ip("link set lan0 up")
	s.ip(fmt.Sprintf("address add %s/24 dev eth0", s.v4))
	s.ip(fmt.Sprintf("address add %s/64 dev eth0 nodad", s.v6))
	s.ip("link set eth0 up")
	s.ip("route add default via " + s.gateway(s.v4).String())
	s.ip("route add default via " + s.gateway(s.v6).String())
	return s
}

// gateway returns the gateway's address in the site, of the family of a.
func (s *site) gateway(a netip.Addr) netip.Addr {
	if a.Is4() {
		return s.v4.Prev()
	}
	return s.v6.Prev()
}

// addresses returns the site's two addresses.
func (s *site) addresses() []netip.Addr { return []netip.Addr{s.v4, s.v6} }

// networks returns the site's networks as a YAML list.
func (s *site) networks() string { return fmt.Sprintf("[10.61.%d.0/24, fd61:%[1]d::/64]", s.number) }

// settings returns a WirespanConfig document with the given lines.
func settings(keys ...string) string {
	return "apiVersion: v1alpha1\nkind: WirespanConfig\n" + strings.Join(keys, "\n") + "\n"
}

// leader prepares an agent on the host that advertises the networks of its site.
func (h *labHost) leader(s *site, keys ...string) *labNode {
	h.Helper()
	return h.node(settings(append(keys, "advertisedNetworks: "+s.networks())...))
}

// serve answers flows and datagrams on port 9000 of the host.
func (h *labHost) serve() {
	h.Helper()
	var streams net.Listener
	var datagrams net.PacketConn
	err := h.inside(func() (err error) {
		if streams, err = net.Listen("tcp", ":9000"); err == nil {
			datagrams, err = net.ListenPacket("udp", ":9000")
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serveStreams(streams) }()
	go serveDatagrams(datagrams)
	h.Cleanup(func() {
		_ = errors.Join(streams.Close(), datagrams.Close())
		if err := <-done; err != nil {
			h.Errorf("%s: %v", h.name, err)
		}
	})
}
