package nft

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// routing keeps the policy-routing rules and the routes of a ruleset in the
// kernel.
type routing struct {
	rt        *netlink.RTNetlink
	listRules func(family byte) ([]netlink.Rule, error)
	families  []byte // that the kernel supports
	installed *installed
	lan       *lanLinks
}

// routingPlan lists the changes that a ruleset needs, in this order.
type routingPlan struct {
	unreachable []netlink.Change // unreachable routes, to be added before the table
	add         []netlink.Change
	remove      []netlink.Change
	warnings    []string
}

// routingTable is a table in which rulesets have routes.
type routingTable struct {
	family byte
	number int
	tunnel bool // some of them lead to the tunnel
}

// routingState is what the kernel has.
type routingState struct {
	links  map[string]netlink.Link // of the installed rulesets
	rules  []netlink.Rule          // all
	routes []netlink.Route         // in the installed rulesets' tables; of main, the unreachable ones if no other is theirs
}

func addressFamilies() []byte {
	families := []byte{unix.AF_INET}
	if fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		_ = unix.Close(fd)
		families = append(families, unix.AF_INET6)
	}
	return families
}

func family(v6 bool) byte {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// supports reports whether the kernel has an IP version.
func (r *routing) supports(v6 bool) bool { return slices.Contains(r.families, family(v6)) }

// plan compares the kernel with rs, which is among the installed rulesets. It
// returns an error if a rule or route of others is in the way.
func (r *routing) plan(rs *firewall.Ruleset) (routingPlan, error) {
	state, err := r.read()
	if err != nil {
		return routingPlan{}, err
	}
	var p routingPlan
	if err := r.planRules(&p, rs, state.rules); err != nil {
		return routingPlan{}, err
	}
	if err := r.planRoutes(&p, rs, state); err != nil {
		return routingPlan{}, err
	}
	return p, nil
}

// planRemoval removes the rules and routes of all installed rulesets. Unreachable
// routes are in a list of their own, because they have to go last.
func (r *routing) planRemoval() (unreachable, rest []netlink.Change, err error) {
	state, err := r.read()
	if err != nil {
		return nil, nil, err
	}
	for _, have := range state.rules {
		if r.installed.hasRule(have) {
			rest = append(rest, netlink.DeleteRule(have))
		}
	}
	for _, have := range state.routes {
		switch {
		case !state.isOurs(have), have.Table == firewall.RouteMain && !r.installed.hasRoute(have.RouteKey):
		case have.Type == unix.RTN_UNREACHABLE:
			unreachable = append(unreachable, netlink.DeleteRoute(have))
		default:
			rest = append(rest, netlink.DeleteRoute(have))
		}
	}
	return unreachable, rest, nil
}

// read reads all that the installed rulesets can concern.
func (r *routing) read() (*routingState, error) {
	state := &routingState{links: map[string]netlink.Link{}}
	var tables []routingTable
	for i := range *r.installed {
		for _, route := range (*r.installed)[i].Routes {
			if _, ok := state.links[route.Interface]; route.Interface != "" && !ok {
				l, err := r.rt.Link(route.Interface)
				if err != nil {
					return nil, err
				}
				state.links[route.Interface] = l
			}
			v := family(route.Destination.Addr().Is6())
			j := slices.IndexFunc(tables, func(t routingTable) bool { return t.number == route.Table && t.family == v })
			if j < 0 {
				j, tables = len(tables), append(tables, routingTable{v, route.Table, false})
			}
			tables[j].tunnel = tables[j].tunnel || route.Interface != ""
		}
	}
	for _, family := range r.families {
		rules, err := r.listRules(family)
		if err != nil && !netlink.NoRules(err) {
			return nil, err
		}
		state.rules = append(state.rules, rules...)
	}
	for _, table := range tables {
		if !slices.Contains(r.families, table.family) {
			continue
		}
		var typ byte // any
		if table.number == firewall.RouteMain && !table.tunnel {
			typ = unix.RTN_UNREACHABLE
		}
		routes, err := r.rt.Routes(table.family, table.number, typ)
		if err != nil {
			return nil, err
		}
		state.routes = append(state.routes, routes...)
	}
	return state, nil
}

// commit makes the changes of each list, up to the first that the kernel refuses.
func (r *routing) commit(lists ...[]netlink.Change) error {
	for _, changes := range lists {
		if err := r.rt.Commit(changes); err != nil {
			return withAdvice(err)
		}
	}
	return nil
}
