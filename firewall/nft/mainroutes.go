package nft

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// hasDefault4 reports whether there is an IPv4 default route for packets without a mark.
func (r *routing) hasDefault4() bool {
	for i := range *r.installed {
		for _, rule := range (*r.installed)[i].Rules {
			return r.rt.HasDefault(unix.AF_INET, rule.Table)
		}
	}
	return r.rt.HasDefault(unix.AF_INET, unix.RT_TABLE_UNSPEC)
}

// LinksTo returns the interfaces that main's routes to a network lead to, sorted.
func (f *Firewall) LinksTo(network netip.Prefix) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.routing.supports(network.Addr().Is6()) {
		return nil, nil
	}
	return f.routing.interfacesTo(network)
}

// interfacesTo returns the names of the interfaces of main's routes to a network, sorted:
// of all routes to parts of it, and of the longest prefix that contains all of it.
// A default route counts only if there is no other.
func (r *routing) interfacesTo(network netip.Prefix) ([]string, error) {
	indexes, err := r.lan.lookup(network, func() ([]uint32, error) { return r.linksTo(network) })
	if err != nil {
		return nil, err
	}
	var names []string
	for _, index := range indexes {
		name, err := r.rt.LinkName(index)
		if err != nil {
			return nil, err
		}
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// linksTo returns the indexes of the interfaces that interfacesTo names.
func (r *routing) linksTo(network netip.Prefix) ([]uint32, error) {
	var links []uint32
	add := func(hops []netlink.NextHop) {
		for _, hop := range hops {
			if !slices.Contains(links, hop.Interface) {
				links = append(links, hop.Interface)
			}
		}
	}
	var whole []netlink.NextHop
	best := -1 // prefix length of whole
	err := r.rt.DumpRoutes(netlink.RouteFields{Family: family(network.Addr().Is6()), Table: firewall.RouteMain, Type: unix.RTN_UNICAST},
		func() { links, whole, best = nil, nil, -1 },
		func(route netlink.Route, m netlink.Message) {
			switch bits := route.Destination.Bits(); {
			case !route.Destination.Overlaps(network):
			case bits > network.Bits():
				add(netlink.NextHops(m))
			case bits > best:
				whole, best = netlink.NextHops(m), bits
			}
		})
	if err != nil {
		return nil, fmt.Errorf("list the routes to %s: %w", network, err)
	}
	if best > 0 || len(links) == 0 {
		add(whole)
	}
	return links, nil
}

// checkAdvertisedDefault returns an error if this node has its IPv6 default route
// from router advertisements and would stop accepting them once it forwards.
func (r *routing) checkAdvertisedDefault() error {
	advertised := netlink.RouteFields{Family: unix.AF_INET6, Table: firewall.RouteMain, Type: unix.RTN_UNICAST, Protocol: unix.RTPROT_RA}
	var interfaces []uint32
	err := r.rt.DumpRoutes(advertised, func() { interfaces = nil }, func(route netlink.Route, _ netlink.Message) {
		if route.Destination.Bits() == 0 {
			interfaces = append(interfaces, route.Interface)
		}
	})
	if err != nil {
		return fmt.Errorf("list the routes from router advertisements: %w", err)
	}
	for _, index := range interfaces {
		name, err := r.rt.LinkName(index)
		if err != nil {
			return err
		}
		if readSysctl("ipv6/conf/"+name+"/accept_ra") == "1" {
			return fmt.Errorf("enable IPv6 forwarding: interface %s would lose its default route, which it has from router advertisements: run sysctl -w net.ipv6.conf.%[1]s.accept_ra=2 first", name)
		}
	}
	return nil
}
