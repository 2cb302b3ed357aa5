package nft

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// kernelRule returns a rule as the kernel should have it.
func kernelRule(r firewall.RoutingRule) netlink.Rule {
	return netlink.Rule{
		IPv6: r.IPv6, Priority: r.Priority, Mark: r.Mark, Mask: r.Mask, Table: r.Table,
		SuppressDefault: r.NotDefault, Protocol: unix.RTPROT_STATIC,
	}
}

// equalRule reports whether the kernel's rule does what ours does. The protocol,
// which only notes where a rule comes from, may differ.
func equalRule(have netlink.Rule, ours firewall.RoutingRule) bool {
	want := kernelRule(ours)
	want.Protocol = have.Protocol
	return have == want
}

// planRules adds the missing rules of rs, and removes other rules of ours. It
// returns an error if a rule of others has the same priority, and warns of those
// that use the same bits of the mark.
func (r *routing) planRules(p *routingPlan, rs *firewall.Ruleset, rules []netlink.Rule) error {
	missing := make([]firewall.RoutingRule, 0, len(rs.Rules))
	for _, want := range rs.Rules {
		if r.supports(want.IPv6) {
			missing = append(missing, want)
		}
	}
	for _, have := range rules {
		i := slices.IndexFunc(missing, func(want firewall.RoutingRule) bool { return equalRule(have, want) })
		switch {
		case i >= 0:
			missing = slices.Delete(missing, i, i+1)
		case r.installed.hasRule(have):
			p.remove = append(p.remove, netlink.DeleteRule(have))
		case r.supports(have.IPv6):
			if err := p.checkForeignRule(rs, have); err != nil {
				return err
			}
		}
	}
	for _, want := range missing {
		p.add = append(p.add, netlink.AddRule(kernelRule(want)))
	}
	return nil
}

func (p *routingPlan) checkForeignRule(rs *firewall.Ruleset, have netlink.Rule) error {
	for _, want := range rs.Rules {
		if want.IPv6 != have.IPv6 {
			continue
		}
		if want.Priority == have.Priority && want.Priority != firewall.FallbackPriority {
			return fmt.Errorf("the %s was not added by wirespan: remove it, or choose another priority as firewall.rulePriority", have)
		}
		if have.Mask == want.Mask && have.Mark != want.Mark && have.Mark != 0 {
			continue // it says where encrypted packets go, as into a VRF
		}
		if want.Mark&have.Mask != 0 || want.Mask&have.Mask != 0 && have.Mask != 0 {
			p.warnings = append(p.warnings, fmt.Sprintf("the %s uses bits of wirespan's marks (%#x): choose other bits as firewall.mask", have, want.Mask))
			break
		}
	}
	return nil
}
