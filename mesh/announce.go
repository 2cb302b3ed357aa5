package mesh

import "net/netip"

// HostAddresses are the addresses of a host that others may know, those of
// links with a default route first; see [Config].AddressFilters. A join token
// names them as addresses of the discovery server.
func HostAddresses(links []Link, filters []AddressFilter) []netip.Addr {
	all := hostAddresses(&Input{Host: Host{Links: links}, Config: Config{AddressFilters: filters}})
	var routed, others []netip.Addr
	for _, a := range all {
		switch {
		case IsKubeSpanULA(a.prefix.Addr()):
		case a.defaultRoute:
			routed = append(routed, a.prefix.Addr())
		default:
			others = append(others, a.prefix.Addr())
		}
	}
	return append(routed, others...)
}
