package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// installed lists the rulesets that may be in the kernel, whole or in part: those
// of the last successful Apply and of failed ones since, and Config.Previous. It
// decides which rules, routes and tables belong to this agent, and holds only
// footprints.
type installed []firewall.Ruleset

// add notes that rs may be in the kernel from now on.
func (in *installed) add(rs *firewall.Ruleset) {
	if rs.Table == "" {
		return
	}
	f := footprint(rs)
	for i := range *in {
		if f.SameShape((*in)[i]) {
			return
		}
	}
	*in = append(*in, f)
}

// reset notes that nothing but rs is in the kernel.
func (in *installed) reset(rs *firewall.Ruleset) {
	*in = (*in)[:0]
	in.add(rs)
}

// footprint returns the part of a ruleset that is needed to find it in the
// kernel. Of the routes in a table of its own, which are found by what they look
// like, one of a kind stays, as a default route.
func footprint(rs *firewall.Ruleset) firewall.Ruleset {
	out := firewall.Ruleset{Table: rs.Table, Rules: rs.Rules}
	for _, s := range rs.Sets {
		out.Sets = append(out.Sets, firewall.Set{Name: s.Name, IPv6: s.IPv6})
	}
	for _, c := range rs.Chains {
		out.Chains = append(out.Chains, firewall.Chain{Name: c.Name})
	}
	for _, r := range rs.Routes {
		if r.Table != firewall.RouteMain {
			r.Destination, _ = r.Destination.Addr().Prefix(0)
		}
		if r.Table == firewall.RouteMain || !slices.Contains(out.Routes, r) {
			out.Routes = append(out.Routes, r)
		}
	}
	return out
}

// hasTunnel reports whether one of the rulesets is for this interface.
func (in installed) hasTunnel(name string) bool {
	for i := range in {
		if tunnelOf(&in[i]) == name {
			return true
		}
	}
	return false
}

// hasRule reports whether a rule belongs to this agent: it equals one of a
// ruleset, or shares its priority and table, and its protocol (static) says that
// no administrator added it by hand.
func (in installed) hasRule(r netlink.Rule) bool {
	if r.Extra {
		return false
	}
	for i := range in {
		for _, ours := range in[i].Rules {
			if equalRule(r, ours) || ours.Table == r.Table && ours.Priority == r.Priority && r.Protocol == unix.RTPROT_STATIC {
				return true
			}
		}
	}
	return false
}

// hasRoute reports whether one of the rulesets has a route with this key.
func (in installed) hasRoute(key netlink.RouteKey) bool {
	for i := range in {
		for j := range in[i].Routes {
			if keyOf(&in[i].Routes[j]) == key {
				return true
			}
		}
	}
	return false
}

// tunnelOf returns the interface that the routes of a ruleset lead to; it is
// empty if none leads to one.
func tunnelOf(rs *firewall.Ruleset) string {
	for i := range rs.Routes {
		if name := rs.Routes[i].Interface; name != "" {
			return name
		}
	}
	return ""
}
