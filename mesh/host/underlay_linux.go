package host

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// resolvConf lists the files that name DNS servers. The second one has the servers behind
// the local stub of systemd-resolved.
var resolvConf = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

const maxDNSServers = 16

// Underlay returns the default routes' gateways and the resolver's DNS servers.
func (h *Host) Underlay() (u mesh.Underlay, err error) {
	for family, found := range map[int]*bool{netlink.FAMILY_V4: &u.Default4, netlink.FAMILY_V6: &u.Default6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return u, fmt.Errorf("listing routes: %w", err)
		}
		for i := range routes {
			if isDefault(&routes[i]) {
				*found = true
				u.Gateways = append(u.Gateways, nextHops(&routes[i])...)
			}
		}
	}
	for _, path := range resolvConf {
		if f, err := os.Open(path); err == nil { // the file may be missing
			u.DNSServers = appendNameservers(u.DNSServers, bufio.NewScanner(f))
			_ = f.Close()
		}
	}
	return u, nil
}

// nextHops returns the gateways of a route.
func nextHops(r *netlink.Route) (hops []netip.Addr) {
	add := func(ip net.IP) {
		if a, ok := netip.AddrFromSlice(ip); ok {
			hops = append(hops, a.Unmap())
		}
	}
	add(r.Gw)
	if via, ok := r.Via.(*netlink.Via); ok {
		add(via.Addr)
	}
	for _, hop := range r.MultiPath {
		add(hop.Gw)
	}
	return hops
}

// appendNameservers appends the servers of a resolv.conf(5) file to list. It leaves out
// loopback addresses: the servers behind a local stub are in another file.
func appendNameservers(list []netip.Addr, lines *bufio.Scanner) []netip.Addr {
	for lines.Scan() && len(list) < maxDNSServers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && !a.IsLoopback() {
			list = append(list, a.Unmap().WithZone(""))
		}
	}
	return list
}
