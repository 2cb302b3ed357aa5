package agent

import (
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// hostWays is what the ways out of this host depend on.
type hostWays struct {
	links    []mesh.Link
	gateways []netip.Addr // of default routes
}

// severed says of which families this host's connections may have broken. What is new breaks
// none: not an address, not a link that comes up, not the first default route.
type severed struct{ v4, v6 bool }

// add adds what a change has broken.
func (s *severed) add(before, after hostWays) {
	hadRoute, hasRoute := defaultLinks(before.links), defaultLinks(after.links)
	rerouted := len(hadRoute) > 0 && !slices.Equal(hadRoute, hasRoute)
	s.v4 = s.v4 || rerouted || lost(before, after, netip.Addr.Is4)
	s.v6 = s.v6 || rerouted || lost(before, after, netip.Addr.Is6)
}

// to reports whether a connection to server may have broken.
func (s *severed) to(server netip.Addr) bool {
	return s.v4 && !server.Is6() || s.v6 && !server.Is4()
}

// lost reports whether an address of a family has gone, or its link is down, or whether the
// family's gateways are others.
func lost(before, after hostWays, family func(netip.Addr) bool) bool {
	had, have := ofFamily(before.gateways, family), ofFamily(after.gateways, family)
	if len(had) > 0 && !slices.Equal(had, have) {
		return true
	}
	for _, l := range before.links {
		if !l.AnnouncedByDefault() {
			continue
		}
		i := slices.IndexFunc(after.links, func(now mesh.Link) bool { return now.Name == l.Name })
		for _, p := range l.Addresses {
			kept := func(now netip.Prefix) bool { return now.Addr() == p.Addr() }
			if family(p.Addr().Unmap()) && (i < 0 || l.Up && !after.links[i].Up || !slices.ContainsFunc(after.links[i].Addresses, kept)) {
				return true
			}
		}
	}
	return false
}

func ofFamily(addrs []netip.Addr, family func(netip.Addr) bool) (out []netip.Addr) {
	for _, a := range addrs {
		if family(a) {
			out = append(out, a)
		}
	}
	return out
}

// defaultLinks names the links by which default routes leave.
func defaultLinks(links []mesh.Link) (names []string) {
	for _, l := range links {
		if l.DefaultRoute {
			names = append(names, l.Name)
		}
	}
	return names
}
