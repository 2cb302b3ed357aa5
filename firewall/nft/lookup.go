package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// Query describes a packet to Lookup.
type Query struct {
	firewall.Numbers
	Destination netip.Addr
	Source      netip.Addr // optional
	// From is the interface by which the packet comes in. If it is empty, a local
	// process sends the packet, and a Source must be one of this node's addresses.
	From string
}

// KernelView is what the kernel has for a packet, independent of what the agent
// applied.
type KernelView struct {
	Table    bool      `json:"table"`             // the nftables table exists
	Routed   bool      `json:"routed"`            // the set of routed networks contains the destination
	Network  string    `json:"network,omitempty"` // the element that contains it
	Mark     uint32    `json:"mark"`              // that an unmarked packet gets
	Rule     bool      `json:"rule"`              // the routing rule of the family exists
	Unmarked RouteView `json:"unmarked"`          // where the packet goes without a mark
	Marked   RouteView `json:"marked"`            // where it goes with the tunnel's mark
	// NotForwarded is the setting that keeps the kernel from forwarding what comes in by
	// Query.From; empty: there is none.
	NotForwarded string   `json:"notForwarded,omitempty"`
	Warnings     []string `json:"warnings,omitempty"` // of the last Apply
}

// RouteView is the result of a route look-up.
type RouteView struct {
	Type      string     `json:"type"` // unicast, local, unreachable, martian …; none: no route
	Table     int        `json:"table,omitempty"`
	Interface string     `json:"interface,omitempty"`
	Gateway   netip.Addr `json:"gateway,omitzero"`
	Source    netip.Addr `json:"source,omitzero"`
}

// Lookup asks the kernel about a packet. It changes nothing, and needs no
// earlier Apply.
func (f *Firewall) Lookup(ctx context.Context, q Query) (KernelView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return KernelView{}, err
	}
	v := KernelView{Warnings: slices.Clone(f.warnings)}
	var err error
	if v.Table, v.Network, err = f.table.lookup(q); err != nil {
		return KernelView{}, err
	}
	if v.Routed = v.Network != ""; v.Routed {
		v.Mark = q.TunnelMark
	}
	if v.Rule, err = f.routing.lookupRule(q); err != nil {
		return KernelView{}, err
	}
	if v.Unmarked, err = f.routing.lookupRoute(q, 0); err != nil {
		return KernelView{}, err
	}
	if q.From != "" {
		v.NotForwarded = notForwarded(q.From, q.Destination.Is6())
	}
	v.Marked, err = f.routing.lookupRoute(q, q.TunnelMark)
	return v, err
}

// lookup reports whether the table exists, and returns the routed network that
// contains the destination, if one does.
func (t *table) lookup(q Query) (exists bool, network string, err error) {
	s, err := t.read(q.Table)
	if err != nil || !s.exists {
		return false, "", err
	}
	found, ok, err := t.nl.SetInterval(q.Table, firewall.RoutedSet(q.Destination.Is6()), q.Destination)
	if err != nil || !ok {
		return true, "", withAdvice(err)
	}
	return true, found.String(), nil
}

// lookupRule reports whether the rule that leads marked packets to the routing
// table exists.
func (r *routing) lookupRule(q Query) (bool, error) {
	v6 := q.Destination.Is6()
	if !r.supports(v6) {
		return false, nil
	}
	rules, err := r.listRules(family(v6))
	if err != nil && !netlink.NoRules(err) {
		return false, err
	}
	for _, r := range rules {
		if !r.Extra && !r.SuppressDefault && r.Priority == q.RulePriority && r.Mark == q.TunnelMark && r.Mask == q.Mask && r.Table == q.RoutingTable {
			return true, nil
		}
	}
	return false, nil
}

// lookupRoute returns the route that the kernel takes for a packet with a mark.
func (r *routing) lookupRoute(q Query, mark uint32) (RouteView, error) {
	var in netlink.Link
	if q.From != "" {
		var err error
		if in, err = r.rt.Link(q.From); err != nil {
			return RouteView{}, err
		}
		if in.Index == 0 {
			return RouteView{}, fmt.Errorf("interface %s does not exist", q.From)
		}
	}
	got, err := r.rt.LookupRoute(netlink.RouteQuery{Destination: q.Destination, Source: q.Source, Interface: in.Index, Mark: mark})
	if err != nil {
		if typ := noRouteType(err); typ != "" {
			return RouteView{Type: typ}, nil
		}
		return RouteView{}, fmt.Errorf("look up the route to %s: %w", q.Destination, err)
	}
	v := RouteView{Type: routeType(got.Type), Table: got.Table, Gateway: got.Gateway, Source: got.Source}
	if got.Interface != 0 {
		if v.Interface, err = r.rt.LinkName(got.Interface); err != nil {
			return RouteView{}, err
		}
	}
	return v, nil
}

// MarkedRoute returns the route of packets that this node sends into the tunnel.
func (f *Firewall) MarkedRoute(n firewall.Numbers, destination netip.Addr) (RouteView, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.routing.lookupRoute(Query{Numbers: n, Destination: destination}, n.TunnelMark)
}

// noRouteType returns why a look-up found no route; it is empty if the look-up
// itself failed.
func noRouteType(err error) string {
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ESRCH):
		return "none"
	case errors.Is(err, unix.EHOSTUNREACH):
		return "unreachable"
	case errors.Is(err, unix.EACCES):
		return "prohibit"
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL):
		return "martian" // also what rp_filter drops
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return "none" // the kernel has no IPv6
	default:
		return ""
	}
}

func routeType(typ byte) string {
	names := []string{"none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit"}
	if int(typ) < len(names) {
		return names[typ]
	}
	return "other"
}
