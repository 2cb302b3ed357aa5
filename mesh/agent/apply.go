package agent

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"go4.org/netipx"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

const conditionFirewall mesh.ConditionType = "Firewall"

// routing is what the loop knows of the firewall.
type routing struct {
	applied  firewall.Policy // the last
	compiled firewall.Ruleset
	current  bool // applied is in place, as far as is known
	removed  bool // nothing is in place
	warnings []string
	unkept   error // the policy could not be written down: it is in place all the same
}

// apply makes firewall and device fit the plan. What is routed before or after
// the change is routed during it, so that nothing leaves in the clear on the way.
func (a *Agent) apply(plan mesh.Plan) error {
	if a.device == nil {
		return nil
	}
	policy := a.policy(plan)
	during := policy
	during.Routed = union(policy.Routed, a.routing.applied.Routed)
	a.keepPolicy(during)
	if err := a.route(during); err != nil {
		return err
	}
	configured := a.configured
	if err := a.applyDevice(plan); err != nil {
		return err
	}
	if !configured { // routes by the link could not be made while it was down
		a.routing.current = false
	}
	err := a.route(policy)
	if err == nil {
		a.keepPolicy(policy)
	}
	return err
}

// route applies a policy, unless it is in place.
func (a *Agent) route(p firewall.Policy) error {
	r := &a.routing
	if a.cfg.Firewall == nil || r.current && reflect.DeepEqual(r.applied, p) {
		return nil
	}
	r.current, r.removed = false, false
	warnings, err := a.cfg.Firewall.Apply(p)
	r.warnings = warnings
	if err != nil {
		return fmt.Errorf("routing and firewall: %w", err)
	}
	r.applied, r.compiled, r.current = p, firewall.Compile(p), true
	return nil
}

// rules are those in place: of a netstack, only those on what comes in.
func (a *Agent) rules() firewall.Ruleset {
	rs := a.routing.compiled
	if a.cfg.Backend.Netstack {
		return firewall.Ruleset{Chains: slices.DeleteFunc(slices.Clone(rs.Chains), func(c firewall.Chain) bool { return c.Name != "ingress" })}
	}
	return rs
}

// unroute removes everything that was applied, by this agent or one before it.
func (a *Agent) unroute() error {
	if a.cfg.Firewall == nil || a.routing.removed {
		return nil
	}
	if err := a.cfg.Firewall.Remove(); err != nil {
		return fmt.Errorf("removing routing and firewall: %w", err)
	}
	a.routing = routing{removed: true}
	return a.cfg.Memory.ForgetPolicy()
}

// settleTime is for how long after discovery's first answer what was routed
// before the agent started stays routed. If the service was down, too, and has
// lost its state, it learns of the members one by one, which try once a minute.
const settleTime = 2 * time.Minute

// settle lets go of what was routed before the agent started: at once of what a
// peer has now, for then the plan decides, and of the rest in time.
func (a *Agent) settle(plan mesh.Plan, now time.Time) {
	if len(a.before.Routed) == 0 {
		return
	}
	if a.answered && a.settled.IsZero() {
		a.settled = now.Add(settleTime)
	}
	if a.answered && !now.Before(a.settled) {
		a.before.Routed = nil
		return
	}
	var left netipx.IPSetBuilder
	for _, p := range a.before.Routed {
		left.AddPrefix(p)
	}
	for i := range plan.Routes {
		left.RemovePrefix(plan.Routes[i].Prefix)
	}
	if set, err := left.IPSet(); err == nil { // else an invalid prefix, which neither list holds
		a.before.Routed = set.Prefixes()
	}
}

// policy is what follows from the plan, and what is still held from before the
// agent started: a restart must not open a gap.
func (a *Agent) policy(plan mesh.Plan) firewall.Policy {
	p := firewall.Policy{
		Numbers: a.first.Firewall.Numbers, Interface: a.first.InterfaceName, MTU: a.mtu, Subnet: a.self.Subnet,
		Routed: plan.Routed, ReturnByTunnel: plan.ReturnByTunnel, Forwarded: union(nil, plan.Local.AdditionalAddresses),
		NoDefault4: !a.underlay.Default4, NoDefault6: !a.underlay.Default6,
		Ingress: ingress(a.config.Ingress, plan.Specs),
	}
	if a.config.Masquerade {
		p.Masquerade = p.Forwarded
	}
	if a.before.Subnet == p.Subnet {
		p.Routed = union(p.Routed, a.before.Routed)
	}
	return p
}

// keepPolicy writes a policy down, so that whatever is in the kernel can be found
// again: before it is applied if there is more in it, else with the next full
// pass, since a peer that comes and goes must not wear out a flash disk.
func (a *Agent) keepPolicy(p firewall.Policy) {
	kept := a.cfg.Memory.Policy()
	if a.cfg.Firewall == nil || a.cfg.Backend.Netstack || reflect.DeepEqual(kept, p) {
		return // of a netstack nothing is in the kernel
	}
	more, _ := firewall.Diff(kept.Routed, p.Routed)
	if len(more) == 0 && kept.Numbers == p.Numbers && kept.Interface == p.Interface && kept.Subnet == p.Subnet && !a.full {
		return
	}
	a.routing.unkept = a.cfg.Memory.KeepPolicy(p)
}

// routingConditions are what the firewall warns of.
func (a *Agent) routingConditions() []mesh.Condition {
	var out []mesh.Condition
	if err := a.routing.unkept; err != nil {
		out = append(out, mesh.Condition{Type: conditionMemory, Subject: state.PolicyFile, Message: err.Error()})
	}
	for i, w := range a.routing.warnings {
		out = append(out, mesh.Condition{Type: conditionFirewall, Subject: fmt.Sprintf("warning %d", i+1), Message: w})
	}
	return out
}

// union of sorted, disjoint prefixes.
func union(a, b []netip.Prefix) []netip.Prefix {
	if len(b) == 0 || slices.Equal(a, b) {
		return a
	}
	var set netipx.IPSetBuilder
	for _, p := range slices.Concat(a, b) {
		set.AddPrefix(p)
	}
	all, err := set.IPSet()
	if err != nil { // an invalid prefix, which neither list holds
		return a
	}
	return all.Prefixes()
}
