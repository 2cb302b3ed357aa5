package nat

import (
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// observation is how a server sees the socket.
type observation struct {
	server netip.Addr
	mapped netip.AddrPort
}

// maxMapped is how many mapped addresses of an IP version are announced.
const maxMapped = 2

// socket is the local side of the mappings.
type socket struct {
	addresses []netip.Addr // of the host
	port      uint16
}

// behindNAT reports whether a mapped address is not the socket's own.
func (s socket) behindNAT(mapped netip.AddrPort) bool {
	return mapped.Port() != s.port || !slices.Contains(s.addresses, mapped.Addr())
}

// announced returns the mapped addresses that others can use.
func announced(list []observation, s socket) []netip.AddrPort {
	var out []netip.AddrPort
	for _, o := range list {
		stable := o.mapped.Port() == s.port || !slices.ContainsFunc(list, o.contradicts)
		if s.behindNAT(o.mapped) && stable && !slices.Contains(out, o.mapped) && len(out) < maxMapped {
			out = append(out, o.mapped)
		}
	}
	return out
}

// contradicts reports whether another server sees another port at the same address.
func (o observation) contradicts(p observation) bool {
	return o.mapped.Addr() == p.mapped.Addr() && o.mapped.Port() != p.mapped.Port()
}

// mapping returns how the NAT maps ports, as far as servers at different addresses tell.
func mapping(list []observation, s socket) mesh.Behaviour {
	var translated []observation
	for _, o := range list {
		if s.behindNAT(o.mapped) {
			translated = append(translated, o)
		}
	}
	if len(translated) == 0 && len(list) > 0 {
		return mesh.BehaviourNone
	}
	result := mesh.BehaviourUnknown
	for i, o := range translated {
		for _, p := range translated[:i] {
			switch {
			case o.contradicts(p):
				return mesh.BehaviourEndpointDependent
			case o.mapped == p.mapped && o.server != p.server:
				result = mesh.BehaviourEndpointIndependent
			}
		}
	}
	return result
}

// translation says whether there is a NAT. A server that is no further away than the host's own
// network can't tell that there is none.
func translation(list []observation, s socket) mesh.Translation {
	result := mesh.TranslationUnknown
	for _, o := range list {
		if s.behindNAT(o.mapped) {
			return mesh.TranslationPresent
		}
		if o.server.IsGlobalUnicast() && !o.server.IsPrivate() {
			result = mesh.TranslationNone
		}
	}
	return result
}
