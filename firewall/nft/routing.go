package nft

import (
	"fmt"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// plan is what has to change in routing, in this order.
type plan struct {
	refuse   []change // unreachable routes come first and go last
	add      []change
	remove   []change
	warnings []string
}

// routing is what the kernel has.
type routing struct {
	links  map[string]link
	rules  []rule
	routes []route // in our tables, and unreachable ones in main
}

// planRouting compares rs to the kernel, and refuses to touch what is not ours.
func (f *Firewall) planRouting(rs *firewall.Ruleset) (plan, error) {
	have, err := f.readRouting()
	if err != nil {
		return plan{}, err
	}
	var p plan
	if err := f.planRules(&p, rs, have.rules); err != nil {
		return plan{}, err
	}
	return p, f.planRoutes(&p, rs, have)
}

// readRouting reads what rulesets of the past and the present can concern; the
// latter is remembered already.
func (f *Firewall) readRouting() (*routing, error) {
	have := &routing{links: map[string]link{}}
	var tables []int
	for i := range f.past {
		for _, r := range f.past[i].Routes {
			if _, ok := have.links[r.Interface]; r.Interface != "" && !ok {
				l, err := f.route.link(r.Interface)
				if err != nil {
					return nil, err
				}
				have.links[r.Interface] = l
			}
			if !slices.Contains(tables, r.Table) {
				tables = append(tables, r.Table)
			}
		}
	}
	for _, family := range f.families {
		rules, err := f.route.rules(family)
		if err != nil {
			return nil, err
		}
		have.rules = append(have.rules, rules...)
		for _, table := range tables {
			var only byte
			if table == firewall.RouteMain {
				only = unix.RTN_UNREACHABLE
			}
			routes, err := f.route.routes(family, table, only)
			if err != nil {
				return nil, err
			}
			have.routes = append(have.routes, routes...)
		}
	}
	return have, nil
}

func (f *Firewall) planRules(p *plan, rs *firewall.Ruleset, have []rule) error {
	missing := make([]firewall.RoutingRule, 0, len(rs.Rules))
	for _, r := range rs.Rules {
		if f.has(r.IPv6) {
			missing = append(missing, r)
		}
	}
	for _, h := range have {
		if i := slices.Index(missing, h.RoutingRule); i >= 0 && !h.special {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		if f.ownsRule(h) {
			p.remove = append(p.remove, deleteRule(h))
			continue
		}
		if !f.has(h.IPv6) {
			continue
		}
		for _, r := range rs.Rules {
			if r.IPv6 != h.IPv6 {
				continue
			}
			if r.Priority == h.Priority && r.Priority != firewall.FallbackPriority {
				return fmt.Errorf("the %s is not wirespan's: remove it, or choose another priority as firewall.rulePriority", h)
			}
			if r.Mark&h.Mask != 0 || r.Mask&h.Mask != 0 && h.Mask != 0 {
				p.warnings = append(p.warnings, fmt.Sprintf("the %s uses bits of wirespan's marks (%#x): choose others as firewall.mask", h, r.Mask))
				break
			}
		}
	}
	for _, r := range missing {
		p.add = append(p.add, addRule(r))
	}
	return nil
}

func (f *Firewall) has(v6 bool) bool { return !v6 || slices.Contains(f.families, unix.AF_INET6) }

// ownsRule reports whether a rule is one of ours: just like one that was applied,
// or one to our table that says that it is not an administrator's.
func (f *Firewall) ownsRule(h rule) bool {
	if h.special {
		return false
	}
	for i := range f.past {
		for _, r := range f.past[i].Rules {
			if r == h.RoutingRule || r.Table == h.Table && r.Priority == h.Priority && h.protocol == unix.RTPROT_STATIC {
				return true
			}
		}
	}
	return false
}

func (f *Firewall) planRoutes(p *plan, rs *firewall.Ruleset, have *routing) error {
	existing, err := have.own(p, rs)
	if err != nil {
		return err
	}
	disabled := map[string]bool{} // interfaces without IPv6
	for i := range rs.Routes {
		r := &rs.Routes[i]
		v6 := r.Destination.Addr().Is6()
		if !f.has(v6) {
			continue
		}
		l := have.links[r.Interface]
		want := desired(r, l.index)
		h, ok := existing[want.routeKey]
		delete(existing, want.routeKey)
		if r.Interface != "" && !l.up || ok && h == want {
			continue // not there, not yet, or as it should be
		}
		if r.Interface != "" && v6 && p.withoutIPv6(r.Interface, disabled) {
			continue
		}
		p.route(want, h, ok)
	}
	f.planLeftovers(p, existing)
	return nil
}

// own are the routes that are ours, by what there is one for at most. Others in
// the tables of rs are a conflict.
func (have *routing) own(p *plan, rs *firewall.Ruleset) (map[routeKey]route, error) {
	existing := make(map[routeKey]route, len(have.routes))
	for _, h := range have.routes {
		_, twice := existing[h.routeKey]
		switch {
		case !have.owns(h):
			if h.table != firewall.RouteMain && slices.ContainsFunc(rs.Routes, func(r firewall.Route) bool { return r.Table == h.table }) {
				return nil, fmt.Errorf("the %s is not wirespan's: remove it, or choose another table as firewall.routingTable", h)
			}
		case twice && h.table != firewall.RouteMain:
			p.remove = append(p.remove, deleteRoute(h))
		default:
			existing[h.routeKey] = h
		}
	}
	return existing, nil
}

// withoutIPv6 reports whether IPv6 is disabled on an interface, and warns once.
func (p *plan) withoutIPv6(name string, known map[string]bool) bool {
	off, asked := known[name]
	if !asked {
		off = readSysctl("ipv6/conf/"+name+"/disable_ipv6") == "1"
		known[name] = off
		if off {
			p.warnings = append(p.warnings, fmt.Sprintf("IPv6 is disabled on interface %s: no IPv6 route leads there (sysctl -w net.ipv6.conf.%[1]s.disable_ipv6=0)", name))
		}
	}
	return off
}

// route adds a route in place of another, if there is one.
func (p *plan) route(want, have route, replaces bool) {
	list := &p.add
	if want.typ == unix.RTN_UNREACHABLE {
		list = &p.refuse
	}
	flags := uint16(unix.NLM_F_EXCL)
	switch {
	case replaces && have.typ == unix.RTN_UNICAST && want.typ == unix.RTN_UNICAST:
		flags = unix.NLM_F_REPLACE
	case replaces:
		*list = append(*list, deleteRoute(have))
	}
	*list = append(*list, addRoute(want, flags))
}

// planLeftovers removes what is ours and not wanted. In main that is only what
// was applied.
func (f *Firewall) planLeftovers(p *plan, left map[routeKey]route) {
	out := make([]route, 0, len(left))
	for _, h := range left {
		if h.table != firewall.RouteMain || f.applied(h) {
			out = append(out, h)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	for _, h := range out {
		p.remove = append(p.remove, deleteRoute(h))
	}
}

func (f *Firewall) applied(h route) bool {
	for i := range f.past {
		for j := range f.past[i].Routes {
			if desired(&f.past[i].Routes[j], 0).routeKey == h.routeKey {
				return true
			}
		}
	}
	return false
}

// owns reports whether a route is like those that Apply makes.
func (have *routing) owns(r route) bool {
	if r.special || r.protocol != unix.RTPROT_STATIC || r.tos != 0 {
		return false
	}
	if r.typ == unix.RTN_UNREACHABLE {
		return true
	}
	for _, l := range have.links {
		if l.index == r.oif {
			return r.typ == unix.RTN_UNICAST && r.oif != 0
		}
	}
	return false
}

// planRemoval removes all of the past. What refuses traffic is a list of its own.
func (f *Firewall) planRemoval() (refuse, rest []change, err error) {
	have, err := f.readRouting()
	if err != nil {
		return nil, nil, err
	}
	for _, h := range have.rules {
		if f.ownsRule(h) {
			rest = append(rest, deleteRule(h))
		}
	}
	for _, h := range have.routes {
		switch {
		case !have.owns(h), h.table == firewall.RouteMain && !f.applied(h):
		case h.typ == unix.RTN_UNREACHABLE:
			refuse = append(refuse, deleteRoute(h))
		default:
			rest = append(rest, deleteRoute(h))
		}
	}
	return refuse, rest, nil
}
