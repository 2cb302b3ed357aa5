package nft

import (
	"errors"
	"slices"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// tableDiff says how the kernel's table differs from that of a ruleset.
type tableDiff struct {
	exists       bool
	fingerprint  []string
	elementsOnly bool      // nothing differs but, perhaps, elements of sets
	sets         []setDiff // in the order of the ruleset, if elementsOnly
}

// setDiff says how to change the elements of a set.
type setDiff struct {
	flush       bool // first remove all elements, because some form no intervals
	remove, add []netlink.Interval
}

// diff compares the table with that of rs. It reads nothing from the kernel if
// the cache is of the current generation.
func (t *table) diff(rs *firewall.Ruleset, generation uint32) (tableDiff, error) {
	c := t.cache
	if c != nil && c.ruleset.Table == rs.Table && c.generation == generation {
		return c.diff(rs), nil
	}
	s, err := t.read(rs.Table)
	if err != nil {
		return tableDiff{}, err
	}
	if err := t.conflict(&s, rs); err != nil {
		t.cache = nil // so that the next Apply checks for conflicts first
		return tableDiff{}, err
	}
	d := tableDiff{exists: s.exists, fingerprint: s.fingerprint}
	if c == nil || c.ruleset.Table != rs.Table || !slices.Equal(s.fingerprint, c.fingerprint) || !sameTableShape(&c.ruleset, rs) {
		return d, nil
	}
	d.elementsOnly = true
	d.sets, err = t.diffSets(rs)
	return d, err
}

// diff compares the cached table with that of rs.
func (c *tableCache) diff(rs *firewall.Ruleset) tableDiff {
	d := tableDiff{exists: true, fingerprint: c.fingerprint}
	if !sameTableShape(&c.ruleset, rs) {
		return d
	}
	d.elementsOnly = true
	d.sets = make([]setDiff, len(rs.Sets))
	for i := range rs.Sets {
		add, remove := firewall.Diff(c.ruleset.Sets[i].Elements, rs.Sets[i].Elements)
		d.sets[i] = setDiff{remove: netlink.Intervals(remove), add: netlink.Intervals(add)}
	}
	return d
}

// diffSets reads the elements of all sets, and compares them with those of rs.
func (t *table) diffSets(rs *firewall.Ruleset) ([]setDiff, error) {
	sets := make([]setDiff, len(rs.Sets))
	for i := range rs.Sets {
		have, err := t.nl.SetIntervals(rs.Table, rs.Sets[i].Name)
		want := netlink.Intervals(rs.Sets[i].Elements)
		switch {
		case errors.Is(err, netlink.ErrNotIntervals):
			sets[i] = setDiff{flush: true, add: want}
		case err != nil:
			return nil, withAdvice(orInterrupted(err))
		default:
			sets[i].remove, sets[i].add = diffIntervals(have, want)
		}
	}
	return sets, nil
}

// diffIntervals says which intervals turn have into want. Both are disjoint and
// in ascending order.
func diffIntervals(have, want []netlink.Interval) (remove, add []netlink.Interval) {
	for len(have) > 0 && len(want) > 0 {
		switch h, w := have[0], want[0]; {
		case h == w:
			have, want = have[1:], want[1:]
		case w.From.Less(h.From):
			add, want = append(add, w), want[1:]
		default: // if only the ends differ, w is compared again with the next of have
			remove, have = append(remove, h), have[1:]
		}
	}
	return append(remove, have...), append(add, want...)
}

// sameTableShape reports whether the tables of two rulesets, comments included,
// differ in nothing but elements of sets.
func sameTableShape(a, b *firewall.Ruleset) bool {
	x := firewall.Ruleset{Table: a.Table, Sets: a.Sets, Chains: a.Chains}
	return tunnelOf(a) == tunnelOf(b) && x.SameShape(firewall.Ruleset{Table: b.Table, Sets: b.Sets, Chains: b.Chains})
}
