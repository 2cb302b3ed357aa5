package mesh

import "net/netip"

// Underlay is what this host's own traffic depends on, and so what no peer may
// announce.
type Underlay struct {
	Gateways           []netip.Addr // next hops of default routes, of whichever table
	Default4, Default6 bool         // every packet of this family finds a route
	DNSServers         []netip.Addr // without loopback ones
}
