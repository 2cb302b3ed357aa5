package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Accept returns pins as they are after the user has accepted a node, which is given by
// node id or nodename: a node that is quarantined, or that has the name, the key or the
// address of another one, which loses it although it may still announce it. It also
// returns what the node announces.
func Accept(pins []Pin, affiliates []Affiliate, node string) (out []Pin, accepted Affiliate, err error) {
	var candidates []*Affiliate
	for i := range affiliates {
		a := &affiliates[i]
		if (a.NodeID == node || a.Nodename == node) && waits(pins, a) {
			candidates = append(candidates, a)
		}
	}
	switch len(candidates) {
	case 0:
		return nil, accepted, fmt.Errorf("no node %q waits to be accepted", node)
	case 1:
	default:
		var ids []string
		for _, a := range candidates {
			ids = append(ids, a.NodeID)
		}
		slices.Sort(ids)
		return nil, accepted, fmt.Errorf("several nodes named %q wait to be accepted; give one by its node id: %s", node, strings.Join(ids, ", "))
	}
	a := candidates[0]
	out = slices.Clone(pins)
	for i := range out {
		if out[i].NodeID == a.NodeID {
			out[i].PublicKey, out[i].Address, out[i].Nodename = a.PublicKey, a.Address, a.Nodename
		} else {
			out[i].yield(a)
		}
	}
	return out, *a, nil
}

// waits reports whether a pin keeps a from something.
func waits(pins []Pin, a *Affiliate) bool {
	for i := range pins {
		if pins[i].stands(a) {
			return true
		}
	}
	return false
}

// stands reports whether p keeps a from something that a announces.
func (p *Pin) stands(a *Affiliate) bool {
	if p.NodeID == a.NodeID {
		return !a.Record.Signed() && p.Sequence == 0 && p.changedKey(a)
	}
	return a.Nodename != "" && p.Nodename == a.Nodename ||
		!a.PublicKey.IsZero() && p.PublicKey == a.PublicKey ||
		a.Address.IsValid() && p.Address == a.Address
}

// yield gives up what a announces.
func (p *Pin) yield(a *Affiliate) {
	if !p.stands(a) {
		return
	}
	if p.Nodename == a.Nodename {
		p.Nodename = ""
	}
	if p.PublicKey == a.PublicKey {
		p.PublicKey = Key{}
	}
	if p.Address == a.Address {
		p.Address = netip.Addr{}
	}
}

// FindNode returns the node id of a node that was seen, by its node id or its nodename. A
// node id need not have been seen.
func FindNode(pins []Pin, affiliates []Affiliate, node string) (string, error) {
	if _, err := DecodeNodeID(node); err == nil {
		return node, nil
	}
	var ids []string
	for i := range pins {
		if node != "" && pins[i].Nodename == node {
			ids = append(ids, pins[i].NodeID)
		}
	}
	for i := range affiliates {
		if a := &affiliates[i]; node != "" && a.Nodename == node && !slices.Contains(ids, a.NodeID) {
			ids = append(ids, a.NodeID)
		}
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("no node %q is known: give its node id", node)
	case 1:
		return ids[0], nil
	}
	slices.Sort(ids)
	return "", fmt.Errorf("several nodes are named %q; give one by its node id: %s", node, strings.Join(ids, ", "))
}

// Forget returns pins without those of a node, which is given by node id or nodename.
func Forget(pins []Pin, node string) ([]Pin, error) {
	out := make([]Pin, 0, len(pins))
	for i := range pins {
		if p := &pins[i]; p.NodeID != node && (node == "" || p.Nodename != node) {
			out = append(out, *p)
		}
	}
	if len(out) == len(pins) {
		return nil, fmt.Errorf("no node %q is remembered", node)
	}
	return out, nil
}
