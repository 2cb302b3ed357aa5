package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/firewall"
)

// mark is how the comment on our tables begins, by which we know them again.
const mark = "wirespan"

// tunnelOf is the interface that the routes of a ruleset lead to, if any does.
func tunnelOf(rs *firewall.Ruleset) string {
	for i := range rs.Routes {
		if name := rs.Routes[i].Interface; name != "" {
			return name
		}
	}
	return ""
}

// commentOf is the comment on a ruleset's table. It names the tunnel's interface,
// of which each agent on a host has its own.
func commentOf(rs *firewall.Ruleset) string {
	return strings.TrimSuffix(mark+" "+tunnelOf(rs), " ")
}

// ours reports whether the table is one that this program made. Kernels before
// 5.10 keep no comment: there, a table with nothing but chains and sets named
// like ours counts, and so does an empty one.
func (t *found) ours(rs *firewall.Ruleset) bool {
	if t.owned || t.marked || !t.bare {
		return t.marked && !t.owned
	}
	for _, name := range t.names {
		if !slices.ContainsFunc(rs.Chains, func(c firewall.Chain) bool { return c.Name == name }) &&
			!slices.ContainsFunc(rs.Sets, func(s firewall.Set) bool { return s.Name == name }) {
			return false
		}
	}
	return true
}

// another reports whether a table is that of another agent: for an interface that
// this one is not known to have, or to have had.
func (f *Firewall) another(t *found) bool {
	return t.marked && !t.owned && t.tunnel != "" &&
		!slices.ContainsFunc(f.past, func(rs firewall.Ruleset) bool { return tunnelOf(&rs) == t.tunnel })
}

// conflict says why what is in place of a ruleset's table must not be touched.
func (f *Firewall) conflict(t *found, rs *firewall.Ruleset) error {
	switch {
	case !t.exists:
		return nil
	case f.another(t):
		return fmt.Errorf("nftables has a table inet %s of another wirespan, for interface %s: choose another name as firewall.table", rs.Table, t.tunnel)
	case !t.ours(rs):
		return fmt.Errorf("nftables has a table inet %s that is not wirespan's: remove it, or choose another name as firewall.table", rs.Table)
	}
	return nil
}

// checkTables finds conflicts of tables before anything is changed. It reads
// nothing if the table is known and no more than elements are to change. A kernel
// without nftables has no tables of others.
func (f *Firewall) checkTables(rs *firewall.Ruleset) error {
	if f.known != nil && len(f.past) == 1 && sameShape(&f.known.rs, rs) {
		return nil
	}
	if err := f.forgetOthers(); err != nil {
		return err
	}
	return without(errNoNftables, f.transact(func(uint32) error {
		for _, one := range []firewall.Ruleset{*rs, bridgeOf(rs)} {
			got, err := f.nft.inspect(one.Table)
			if err != nil || !got.exists { // then there is nothing to bridge
				return err
			}
			if err := f.conflict(&got, &one); err != nil {
				return err
			}
		}
		return nil
	}))
}

func without(fine, err error) error {
	if errors.Is(err, fine) {
		return nil
	}
	return err
}

// forgetOthers drops from the past the rulesets whose table is another agent's.
// They were refused, so rules and routes with their numbers are that agent's, too.
func (f *Firewall) forgetOthers() error {
	var kept []firewall.Ruleset
	err := f.transact(func(uint32) error {
		kept = make([]firewall.Ruleset, 0, len(f.past))
		for i := range f.past {
			got, err := f.nft.identify(f.past[i].Table)
			if err != nil {
				return err
			}
			if f.another(&got) {
				f.log.Warn("nftables table is another wirespan's and stays", "table", f.past[i].Table, "interface", got.tunnel)
				continue
			}
			kept = append(kept, f.past[i])
		}
		return nil
	})
	if err == nil {
		f.past = kept
	}
	return without(errNoNftables, err)
}

// removeTable deletes the table of a ruleset, if it is ours.
func (f *Firewall) removeTable(rs *firewall.Ruleset) error {
	return without(errNoNftables, f.transact(func(generation uint32) error {
		got, err := f.nft.inspect(rs.Table)
		if err != nil || !got.exists {
			return err
		}
		if err := f.conflict(&got, rs); err != nil {
			f.log.Warn("nftables table is not this wirespan's and stays", "table", rs.Table)
			return nil
		}
		if f.known != nil && f.known.rs.Table == rs.Table {
			f.known = nil
		}
		b := newBatch(f.nft, generation)
		b.deleteTable(rs.Table)
		if err := b.commit(); err != nil {
			return fmt.Errorf("delete nftables table %s: %w", rs.Table, explain(err, rs))
		}
		if f.known != nil && f.known.generation == generation {
			f.known.generation = after(generation)
		}
		return nil
	}))
}
