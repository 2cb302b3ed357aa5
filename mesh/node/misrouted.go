package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// maxRouteChecks bounds the networks of an IP version whose routes are looked up.
const maxRouteChecks = 16

// misrouted returns a condition for each IP version of which packets for the mesh are
// routed past the tunnel: a rule of another program precedes that of the policy. Chain
// guard drops them.
func (k *kernel) misrouted(p firewall.Policy) ([]mesh.Condition, error) {
	first6 := slices.IndexFunc(p.Routed, func(n netip.Prefix) bool { return n.Addr().Is6() })
	if first6 < 0 {
		first6 = len(p.Routed)
	}
	fate := "dropped"
	if p.Lacks.Has(firewall.FeatureNftables) {
		fate = "sent in the clear"
	}
	var out []mesh.Condition
	for _, networks := range [][]netip.Prefix{p.Routed[:first6], p.Routed[first6:]} {
		var lost []string
		var where string
		for _, n := range networks[:min(len(networks), maxRouteChecks)] {
			numbers := p.Numbers
			if !p.ByMark() {
				numbers.TunnelMark = 0
			}
			r, err := k.MarkedRoute(numbers, n.Addr())
			if err != nil {
				return nil, err
			}
			if r.Type == "unicast" && r.Interface != p.Interface {
				lost, where = append(lost, n.String()), fmt.Sprintf("by %s, as table %d says", r.Interface, r.Table)
			}
		}
		if len(lost) == 0 {
			continue
		}
		command := "ip rule"
		if networks[0].Addr().Is6() {
			command = "ip -6 rule"
		}
		out = append(out, mesh.Condition{
			Type: mesh.ConditionHostDrops, Subject: command,
			Message: fmt.Sprintf("packets for %s belong into the tunnel, but are routed %s, and therefore %s: a rule of another program precedes that of priority %d; see %s, and set firewall.rulePriority to less than its priority",
				strings.Join(lost[:min(len(lost), maxNamedDrops)], ", "), where, fate, p.RulePriority, command),
		})
	}
	own, err := k.meshMisrouted(p, fate)
	return append(out, own...), err
}

// meshMisrouted returns a condition if mesh addresses are routed past the tunnel. Nothing
// marks packets for them: table main has their route, behind the rules of other programs.
func (k *kernel) meshMisrouted(p firewall.Policy, fate string) ([]mesh.Condition, error) {
	if !p.Subnet.IsValid() {
		return nil, nil
	}
	numbers := p.Numbers
	numbers.TunnelMark = 0
	r, err := k.MarkedRoute(numbers, p.Subnet.Addr().Next())
	if err != nil || r.Type != "unicast" || r.Interface == p.Interface {
		return nil, err
	}
	return []mesh.Condition{{
		Type: mesh.ConditionHostDrops, Subject: "mesh addresses",
		Message: fmt.Sprintf("packets for mesh addresses (%s) belong into the tunnel, but are routed by %s, as table %d says, and therefore %s: a rule of another program precedes table main; run: ip -6 rule add to %s lookup main priority 1 (and at each boot)",
			p.Subnet, r.Interface, r.Table, fate, p.Subnet),
	}}, nil
}
