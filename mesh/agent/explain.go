package agent

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// outlook is what [Agent.Explain] and [Agent.Reach] need of the last pass.
type outlook struct {
	plan   *mesh.Plan
	policy firewall.Policy
	proven bool // node ids are those of the nodes' keys
	own    []netip.Addr
	host   []netip.Addr // addresses of the host, of which programs in a netstack know nothing
	gone   bool         // the tunnel's interface does not exist
}

// ExplainQuery asks where a packet goes.
type ExplainQuery struct {
	To       netip.Addr
	Port     uint16            // 0: none
	Protocol firewall.Protocol // empty: none in particular
	From     string            // a peer or an address from which the packet comes by the mesh; empty: it is this node's
}

// Explanation says where a packet goes: by the agent's plan, and by what the
// kernel has. Peer paths are those of [mesh.Path].
type Explanation struct {
	To         netip.Addr            `json:"to"`
	Plan       firewall.Explanation  `json:"plan"`
	Route      mesh.Path             `json:"route,omitempty"`  // of the peer's network
	State      *mesh.PeerState       `json:"state,omitempty"`  // of the peer
	Kernel     *firewall.Explanation `json:"kernel,omitempty"` // nil: not asked
	Difference string                `json:"difference,omitempty"`
	Conditions []ConditionView       `json:"conditions,omitempty"` // that may keep the packet from arriving
}

// Explain answers from the last pass. It may be called by anyone.
func (a *Agent) Explain(q ExplainQuery) (e Explanation, err error) {
	o := a.shown.Load()
	if o == nil {
		return e, errors.New("the mesh is not running on this node")
	}
	e.To = q.To.Unmap().WithZone("")
	fq := firewall.Query{Destination: e.To, Port: q.Port, Protocol: q.Protocol, Own: o.own, Gone: o.gone, Inside: a.cfg.Backend.Netstack}
	if e.To.IsLoopback() {
		fq.Own = []netip.Addr{e.To}
	}
	for i := range o.plan.Specs {
		spec := &o.plan.Specs[i]
		for _, p := range spec.AllowedIPs {
			fq.Peers = append(fq.Peers, firewall.Owner{Prefix: p, Peer: peerName(spec)})
		}
	}
	if fq.Source, err = o.source(a.Names(), q.From, e.To); err != nil {
		return e, err
	}
	if fq.Source.IsValid() && fq.Source.Unmap().Is4() != e.To.Is4() {
		return e, fmt.Errorf("no packet goes from %s to %s: one is IPv4 and the other IPv6 (name another address of the sender)", fq.Source, e.To)
	}
	e.Plan = o.policy.Explain(fq)
	for _, r := range o.plan.Routes {
		if r.Prefix.Contains(e.To) {
			e.Route, e.State = r.Path, &o.plan.Statuses[r.Peer].State
			break
		}
	}
	e.Conditions = o.concerning(e.Plan)
	if a.cfg.Firewall == nil || a.cfg.Backend.Netstack {
		return e, nil
	}
	kernel, err := a.cfg.Firewall.Lookup(fq, o.policy)
	if err != nil {
		return e, fmt.Errorf("asking the kernel: %w", err)
	}
	e.Kernel = &kernel
	if kernel.Path != e.Plan.Path {
		e.Difference = fmt.Sprintf("the plan says %s and the kernel %s", e.Plan.Path, kernel.Path)
	}
	return e, nil
}

// concerning returns the conditions about the packet's peer and, of a packet for this node,
// about who can reach it.
func (o *outlook) concerning(v firewall.Explanation) (list []ConditionView) {
	for _, c := range o.plan.Conditions {
		concerns := false
		switch c.Type {
		case mesh.ConditionNoAnswer:
			concerns = v.Peer != "" && (c.Subject == v.Peer || c.Subject == mesh.AllPeers)
		case mesh.ConditionSendRefused:
			concerns = v.Peer != ""
		case mesh.ConditionNoJoinToken:
			concerns = v.Path == firewall.PathLocal
		}
		if concerns {
			list = append(list, c)
		}
	}
	return list
}

// source finds the address that a packet comes from: given as such, or one that a
// peer may send from to the destination.
func (o *outlook) source(names *mesh.Names, from string, to netip.Addr) (netip.Addr, error) {
	if from == "" {
		return netip.Addr{}, nil
	}
	if addr, err := netip.ParseAddr(from); err == nil {
		return addr, nil
	}
	by, _ := names.Lookup(from)
	named := len(by) > 0
	for i := range o.plan.Specs {
		s := &o.plan.Specs[i]
		if peerName(s) != from && s.PublicKey.String() != from && s.NodeID != from && !(named && s.Address == by[0]) {
			continue
		}
		if s.Address.IsValid() && to.Is6() {
			return s.Address, nil
		}
		for _, p := range s.AllowedIPs {
			if p.Addr().Is4() == to.Is4() {
				return p.Addr(), nil
			}
		}
		return netip.Addr{}, fmt.Errorf("peer %q may send from no address of the destination's kind", from)
	}
	return netip.Addr{}, fmt.Errorf("%q is neither an address nor a peer of this node", from)
}

func peerName(s *mesh.PeerSpec) string { return cmp.Or(s.Label, s.PublicKey.String()) }

// foresee keeps what Explain and Reach need.
func (a *Agent) foresee(plan *mesh.Plan) {
	if a.plane.device == nil {
		a.shown.Store(nil)
		return
	}
	o := &outlook{plan: plan, policy: a.routing.applied, proven: a.config.Own, own: []netip.Addr{a.self.Address}}
	if !a.routing.current { // not in place yet, or not kept
		o.policy = a.policy(plan)
	}
	o.host = addressesOf(a.host.links)
	if !a.cfg.Backend.Netstack {
		o.own = append(o.own, o.host...)
	}
	a.shown.Store(o)
}
