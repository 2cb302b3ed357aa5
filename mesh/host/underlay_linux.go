package host

import (
	"bufio"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// resolvConf lists the files that name DNS servers. The second one has the servers behind
// the local stub of systemd-resolved.
var resolvConf = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

const maxDNSServers = 16

// Underlay returns the default routes' gateways and the resolver's DNS servers.
func (h *Host) Underlay() (u mesh.Underlay, err error) {
	rt, err := openNetlink()
	if err != nil {
		return u, err
	}
	defer rt.Close()
	links, err := rt.Links()
	if err != nil {
		return u, err
	}
	routes, err := h.defaultRoutes(rt, links)
	if err != nil {
		return u, err
	}
	u.Default4, u.Default6 = routes.v4.All, routes.v6.All
	for _, hop := range routes.hops() {
		if hop.Gateway.IsValid() && !slices.Contains(u.Gateways, hop.Gateway) {
			u.Gateways = append(u.Gateways, hop.Gateway)
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
