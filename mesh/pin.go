package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"
)

// Bounds on pins. They are needed because anyone who knows the cluster's secret
// can make up node ids.
const (
	maxPins     = 4096
	pinLifetime = 30 * 24 * time.Hour // after a node was last seen
	pinStep     = 24 * time.Hour      // precision of LastSeen, so that pins seldom change
)

// Pin records the key and address that a node id was first seen with. Discovery
// vouches for a key no better than the cluster's secret does, which all nodes
// share. With a pin, a node that returns with another key is quarantined: it is
// no peer until the user accepts it.
type Pin struct {
	NodeID    string
	PublicKey Key        // zero: it had no KubeSpan part yet
	Address   netip.Addr // KubeSpan ULA; zero likewise
	FirstSeen time.Time
	LastSeen  time.Time // to the day

	Nodename   string
	NamedSince time.Time // when it was first seen with that nodename
}

// pin compares affiliates, sorted by node id, with their pins. It returns those
// that match or are new, those that are quarantined, and the updated pins, sorted
// by node id.
func pin(in *Input, affiliates []*Affiliate, now time.Time, cs *conditions) (known, quarantined []*Affiliate, pins []Pin) {
	pins = slices.Clone(in.Pins)
	sort.Slice(pins, func(i, j int) bool { return pins[i].NodeID < pins[j].NodeID })
	old := len(pins)
	known = make([]*Affiliate, 0, len(affiliates))
	for _, a := range affiliates {
		i, found := slices.BinarySearchFunc(pins[:old], a.NodeID, func(p Pin, id string) int { return strings.Compare(p.NodeID, id) })
		if !found {
			seen := now.UTC().Truncate(time.Second)
			pins = append(pins, Pin{a.NodeID, a.PublicKey, a.Address, seen, seen, a.Nodename, seen})
			known = append(known, a)
			continue
		}
		p := &pins[i]
		if now.Sub(p.LastSeen) >= pinStep {
			p.LastSeen = now.UTC().Truncate(time.Second)
		}
		if p.conflictsWith(a) {
			cs.add(ConditionIdentityChanged, a.displayName(),
				"%q (node %s) has %s; it is quarantined; if this change is expected, run: wirespan accept %s",
				a.displayName(), a.NodeID, p.difference(a), a.NodeID)
			quarantined = append(quarantined, a)
			continue
		}
		if p.Nodename != a.Nodename {
			p.Nodename, p.NamedSince = a.Nodename, now.UTC().Truncate(time.Second)
		}
		if p.PublicKey.IsZero() {
			p.PublicKey = a.PublicKey
		}
		if !p.Address.IsValid() {
			p.Address = a.Address
		}
		known = append(known, a)
	}
	return known, quarantined, prune(pins, now)
}

// conflictsWith reports whether a has another key or address than p. What is
// missing on either side is no conflict.
func (p *Pin) conflictsWith(a *Affiliate) bool {
	return p.changedKey(a) || p.Address.IsValid() && a.Address.IsValid() && p.Address != a.Address
}

func (p *Pin) changedKey(a *Affiliate) bool {
	return !p.PublicKey.IsZero() && !a.PublicKey.IsZero() && p.PublicKey != a.PublicKey
}

func (p *Pin) difference(a *Affiliate) string {
	if p.changedKey(a) {
		return "the public key " + a.PublicKey.String() + " instead of " + p.PublicKey.String() + ", with which it was first seen"
	}
	return "the KubeSpan address " + a.Address.String() + " instead of " + p.Address.String() + ", with which it was first seen"
}

// prune removes pins of nodes that were not seen for pinLifetime and, beyond
// maxPins, the newest ones: made-up nodes must not displace the pins of real ones.
func prune(pins []Pin, now time.Time) []Pin {
	pins = slices.DeleteFunc(pins, func(p Pin) bool { return now.Sub(p.LastSeen) >= pinLifetime })
	if len(pins) > maxPins {
		sort.SliceStable(pins, func(i, j int) bool { return pins[i].FirstSeen.Before(pins[j].FirstSeen) })
		pins = pins[:maxPins]
	}
	sort.Slice(pins, func(i, j int) bool { return pins[i].NodeID < pins[j].NodeID })
	return slices.Clip(pins)
}

// Accept returns pins without that of a quarantined node, which is given by node
// id or nodename. The next decision pins the node anew, as it is then.
func Accept(pins []Pin, affiliates []Affiliate, node string) ([]Pin, error) {
	var quarantined []string
	for i := range affiliates {
		a := &affiliates[i]
		if a.NodeID != node && a.Nodename != node {
			continue
		}
		if slices.ContainsFunc(pins, func(p Pin) bool { return p.NodeID == a.NodeID && p.conflictsWith(a) }) {
			quarantined = append(quarantined, a.NodeID)
		}
	}
	switch len(quarantined) {
	case 0:
		return nil, fmt.Errorf("no node %q is quarantined", node)
	case 1:
		return slices.DeleteFunc(slices.Clone(pins), func(p Pin) bool { return p.NodeID == quarantined[0] }), nil
	}
	slices.Sort(quarantined)
	return nil, fmt.Errorf("several nodes named %q are quarantined; give one by its node id: %s", node, strings.Join(quarantined, ", "))
}

// pinOf returns the pin of a node from a sorted list, or nil.
func pinOf(pins []Pin, nodeID string) *Pin {
	i, found := slices.BinarySearchFunc(pins, nodeID, func(p Pin, id string) int { return strings.Compare(p.NodeID, id) })
	if !found {
		return nil
	}
	return &pins[i]
}
