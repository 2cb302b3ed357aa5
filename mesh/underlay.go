package mesh

import "net/netip"

// Underlay is what this host's own traffic depends on, and so what no peer may
// announce.
type Underlay struct {
	Gateways           []netip.Addr // next hops of default routes
	Default4, Default6 bool         // there is a default route of this family
	DNSServers         []netip.Addr // without loopback ones
}
