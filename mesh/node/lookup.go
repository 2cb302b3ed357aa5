package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
)

// Lookup returns where the kernel sends a packet, according to its present state.
func (k *kernel) Lookup(q firewall.Query, p firewall.Policy) (firewall.Explanation, error) {
	ask := nft.Query{Numbers: p.Numbers, Destination: q.Destination}
	if q.Source.IsValid() {
		ask.Source, ask.From = q.Source, p.Interface
	}
	v, err := k.Firewall.Lookup(context.Background(), ask)
	if err != nil {
		return firewall.Explanation{}, err
	}
	l := lookup{view: v, query: q, policy: p}
	if plan := p.Explain(q); q.Source.IsValid() && plan.Path == firewall.PathRefused && v.Table {
		l.Path = firewall.PathRefused // the kernel cannot be asked for the ingress chain's decision
		l.because("nftables", "the rules that are to refuse it are in place")
		return l.Explanation, nil
	}
	l.route()
	if q.Source.IsValid() {
		err = l.dropped(k)
	}
	return l.Explanation, err
}

// lookup builds an explanation from the kernel's answers.
type lookup struct {
	firewall.Explanation
	view   nft.KernelView
	query  firewall.Query
	policy firewall.Policy
}

// because adds a reason.
func (l *lookup) because(where, format string, args ...any) {
	l.Reasons = append(l.Reasons, firewall.Reason{Where: where, Text: fmt.Sprintf(format, args...)})
}

// route follows the packet through nftables, rules and routes.
func (l *lookup) route() {
	v, r := &l.view, l.view.Unmarked
	set := firewall.RoutedSet(l.query.Destination.Is6())
	switch {
	case r.Type == "local":
		l.Path = firewall.PathLocal
		l.because("table local", "it is an address of this node")
		return
	case l.byDestination():
		l.because("ip rule", "all but encrypted packets are routed by destination")
		l.leave(r)
		return
	case !v.Table:
		l.because("nftables", "there is no table inet %s", l.policy.Table)
	case v.Routed:
		l.because(set, "%s has it: it gets mark %#x", v.Network, v.Mark)
	default:
		l.because(set, "it is in no element")
	}
	if v.Routed && v.Rule {
		r = v.Marked
		l.because("ip rule", "mark %#x is looked up in table %d", v.Mark, l.policy.RoutingTable)
	} else if v.Routed {
		l.because("ip rule", "there is none of priority %d for mark %#x", l.policy.RulePriority, v.Mark)
	}
	l.leave(r)
}

// byDestination reports whether no mark leads the packet into the tunnel.
func (l *lookup) byDestination() bool {
	rules := firewall.FeatureRules4
	if l.query.Destination.Is6() {
		rules = firewall.FeatureRules6
	}
	return !l.policy.ByMark() || l.policy.Lacks.Has(rules)
}

// owned reports whether the packet belongs into the tunnel.
func (l *lookup) owned() bool {
	p, to := &l.policy, l.query.Destination
	if p.Subnet.IsValid() && p.Subnet.Contains(to) {
		return true
	}
	if l.byDestination() {
		return slices.ContainsFunc(p.Routed, func(n netip.Prefix) bool { return n.Contains(to) })
	}
	return l.view.Routed
}

// leave adds what happens to a packet for which the kernel chooses the route r.
func (l *lookup) leave(r nft.RouteView) {
	l.leaveBy(r)
	if l.view.NotForwarded != "" && r.Type == "unicast" && l.Path != firewall.PathRefused {
		l.Path = firewall.PathRefused
		l.because("forwarding", "%s is 0: the kernel does not forward it (see the conditions of wirespan status)", l.view.NotForwarded)
	}
}

func (l *lookup) leaveBy(r nft.RouteView) {
	owned := l.owned()
	table := fmt.Sprintf("table %d", r.Table)
	if r.Table == firewall.RouteMain {
		table = "table main"
	}
	switch {
	case r.Interface == l.policy.Interface && r.Type == "unicast":
		l.Path = firewall.PathTunnel
		l.because(table, "it goes by %s", r.Interface)
	case owned && r.Type != "unicast":
		l.Path = firewall.PathRefused
		l.because(table, "%s", r.Type)
	case owned && l.view.Table:
		l.Path = firewall.PathRefused
		l.because("guard", "it would go by %s, and is dropped", r.Interface)
	case r.Type != "unicast":
		l.Path = firewall.PathBypass
		l.because("table main", "no route leads there (%s)", r.Type)
	default:
		l.Path = firewall.PathBypass
		l.because(table, "it goes by %s", r.Interface)
	}
}
