package agent

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"go4.org/netipx"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// policy returns what the plan asks of routing and firewall, with what is
// retained from before the agent started: a restart must not open a gap.
func (a *Agent) policy(plan *mesh.Plan) (p firewall.Policy) {
	p = firewall.Policy{
		Numbers: a.first.Firewall.Numbers, Interface: a.first.InterfaceName, MTU: a.host.mtu, Subnet: a.self.Subnet, ListenPort: a.plane.device.ListenPort(),
		Routed: plan.Routed, ReturnByTunnel: plan.ReturnByTunnel, Forwarded: union(nil, plan.Local.AdditionalAddresses),
		NoDefault4: !a.host.underlay.Default4, NoDefault6: !a.host.underlay.Default6,
		Ingress: ingress(a.config.Ingress, plan.Specs),
	}
	if a.cfg.Firewall != nil {
		p.Lacks = a.cfg.Firewall.Lacks()
	}
	if a.config.DNS.Enabled {
		p.Ingress.DNS = a.self.Address
	}
	if a.config.Masquerade {
		p.Masquerade = p.Forwarded
	}
	if a.retained.policy.Subnet == p.Subnet {
		p.Routed = union(p.Routed, a.retained.policy.Routed)
	}
	return p
}

// keepMore writes a policy that routes more than the one on disk before it is
// applied, so that a later agent finds what is in the kernel. Others are written
// when they have settled.
func (a *Agent) keepMore(p *firewall.Policy) {
	kept := a.cfg.Memory.Policy()
	if !a.keepsPolicy() || samePolicy(&kept, p) {
		return
	}
	more, _ := firewall.Diff(kept.Routed, p.Routed)
	if len(more) == 0 && kept.Numbers == p.Numbers && kept.Interface == p.Interface && kept.Subnet == p.Subnet {
		return
	}
	a.routing.keeping.err = a.cfg.Memory.KeepPolicy(*p)
}

// keepsPolicy reports whether policies are kept on disk: a netstack puts nothing
// into the kernel.
func (a *Agent) keepsPolicy() bool { return a.cfg.Firewall != nil && !a.cfg.Backend.Netstack }

// samePolicy reports whether two policies are equal. The lists that can be long are
// compared first, and not by reflection.
func samePolicy(a, b *firewall.Policy) bool {
	if !slices.Equal(a.Routed, b.Routed) || len(a.Ingress.Rules) != len(b.Ingress.Rules) {
		return false
	}
	for i := range a.Ingress.Rules {
		if !slices.Equal(a.Ingress.Rules[i].Sources, b.Ingress.Rules[i].Sources) {
			return false
		}
	}
	return reflect.DeepEqual(short(*a), short(*b))
}

// short returns a policy without its long lists.
func short(p firewall.Policy) firewall.Policy {
	p.Routed = nil
	p.Ingress.Rules = slices.Clone(p.Ingress.Rules)
	for i := range p.Ingress.Rules {
		p.Ingress.Rules[i].Sources = nil
	}
	return p
}

// retainTime is how long after discovery's first answer the agent keeps routing
// what was routed before it started. If the service was down, too, and has lost
// its state, it learns of the members one by one, which try once a minute.
const retainTime = 2 * time.Minute

// retained is what an earlier agent routed and this one goes on routing, until
// discovery had time to say who owns it.
type retained struct {
	policy firewall.Policy
	until  time.Time // zero: discovery has not answered yet
}

// retainTime returns how long networks are retained: longer if the pins are lost, which
// would have held those of nodes that are gone.
func (a *Agent) retainTime() time.Duration {
	if a.cfg.Memory.IsDamaged(state.PinsFile) {
		return max(retainTime, a.config.HoldNetworks)
	}
	return retainTime
}

// releaseRetained drops from what is retained the networks that a peer has now,
// for which the plan decides, and in time the rest.
func (a *Agent) releaseRetained(plan *mesh.Plan, now time.Time) {
	if len(a.retained.policy.Routed) == 0 {
		return
	}
	if a.sources.answered && a.retained.until.IsZero() {
		a.retained.until = now.Add(a.retainTime())
	}
	if a.sources.answered && !now.Before(a.retained.until) {
		a.retained.policy.Routed = nil
		return
	}
	var left netipx.IPSetBuilder
	for _, p := range a.retained.policy.Routed {
		left.AddPrefix(p)
	}
	for i := range plan.Routes {
		left.RemovePrefix(plan.Routes[i].Prefix)
	}
	if set, err := left.IPSet(); err == nil { // else an invalid prefix, which neither list holds
		a.retained.policy.Routed = set.Prefixes()
	}
}

// union returns the union of two sorted lists of disjoint prefixes.
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
