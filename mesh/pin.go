package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"
)

// Bounds on what is remembered of nodes: anyone who knows the cluster's secret
// can make up node ids.
const (
	maxPins     = 4096
	pinLifetime = 30 * 24 * time.Hour // after a node was last seen
	pinStep     = 24 * time.Hour      // how exact LastSeen is, so that pins seldom change
)

// Pin is what was first seen under a node id. Discovery's word for a key is as
// good as the cluster's secret, which all nodes share; with it, a node that
// turns up with another key is noticed instead of believed.
type Pin struct {
	NodeID    string
	PublicKey Key        // zero: it had no KubeSpan part yet
	Address   netip.Addr // KubeSpan ULA; zero likewise
	FirstSeen time.Time
	LastSeen  time.Time // to the day

	Nodename   string
	NamedSince time.Time // when it was first seen by that name
}

// pin compares affiliates, sorted by node id, with what was pinned. It returns
// those that are as known or new, those that are held back, and the pins from now
// on, sorted by node id.
func pin(in *Input, affiliates []*Affiliate, now time.Time, cs *conditions) (known, held []*Affiliate, pins []Pin) {
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
		if p.holdsBack(a) {
			cs.add(ConditionIdentityChanged, a.displayName(),
				"%q (node %s) has %s; it is no peer until you know that this is right and run: wirespan accept %s",
				a.displayName(), a.NodeID, p.difference(a), a.NodeID)
			held = append(held, a)
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
	return known, held, prune(pins, now)
}

// holdsBack reports whether a is not what was pinned. A part that is missing on
// either side is no change.
func (p *Pin) holdsBack(a *Affiliate) bool {
	return p.changedKey(a) || p.Address.IsValid() && a.Address.IsValid() && p.Address != a.Address
}

func (p *Pin) changedKey(a *Affiliate) bool {
	return !p.PublicKey.IsZero() && !a.PublicKey.IsZero() && p.PublicKey != a.PublicKey
}

func (p *Pin) difference(a *Affiliate) string {
	if p.changedKey(a) {
		return "the public key " + a.PublicKey.String() + ", which was " + p.PublicKey.String() + " when it was first seen"
	}
	return "the KubeSpan address " + a.Address.String() + ", which was " + p.Address.String() + " when it was first seen"
}

// prune forgets nodes that were not seen for long and, beyond the bound, the
// newest: nobody may push out others by making up nodes.
func prune(pins []Pin, now time.Time) []Pin {
	pins = slices.DeleteFunc(pins, func(p Pin) bool { return now.Sub(p.LastSeen) >= pinLifetime })
	if len(pins) > maxPins {
		sort.SliceStable(pins, func(i, j int) bool { return pins[i].FirstSeen.Before(pins[j].FirstSeen) })
		pins = pins[:maxPins]
	}
	sort.Slice(pins, func(i, j int) bool { return pins[i].NodeID < pins[j].NodeID })
	return slices.Clip(pins)
}

// Accept returns pins without those of the node, called by its id or name, that
// are held back: it is pinned anew as it is now.
func Accept(pins []Pin, affiliates []Affiliate, node string) ([]Pin, error) {
	var held []string
	for i := range affiliates {
		a := &affiliates[i]
		if a.NodeID != node && a.Nodename != node {
			continue
		}
		if slices.ContainsFunc(pins, func(p Pin) bool { return p.NodeID == a.NodeID && p.holdsBack(a) }) {
			held = append(held, a.NodeID)
		}
	}
	switch len(held) {
	case 0:
		return nil, fmt.Errorf("no node %q is held back", node)
	case 1:
		return slices.DeleteFunc(slices.Clone(pins), func(p Pin) bool { return p.NodeID == held[0] }), nil
	}
	slices.Sort(held)
	return nil, fmt.Errorf("several nodes named %q are held back; name one by its node id: %s", node, strings.Join(held, ", "))
}

// pinOf finds a node's in a sorted list; nil if there is none.
func pinOf(pins []Pin, nodeID string) *Pin {
	i, found := slices.BinarySearchFunc(pins, nodeID, func(p Pin, id string) int { return strings.Compare(p.NodeID, id) })
	if !found {
		return nil
	}
	return &pins[i]
}
