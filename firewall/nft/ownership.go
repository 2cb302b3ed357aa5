package nft

import (
	"fmt"
	"strings"

	"github.com/wirespan/wirespan/firewall"
)

// commentPrefix is the first word of the comment on this program's tables.
const commentPrefix = "wirespan"

// commentOf returns the comment on a ruleset's table. It names the tunnel's
// interface, which differs between agents on one host.
func commentOf(rs *firewall.Ruleset) string {
	return strings.TrimSuffix(commentPrefix+" "+tunnelOf(rs), " ")
}

// madeByUs reports whether this program created the table. Kernels before 5.10
// store no comment: there, a table counts if it is empty, or if all its chains
// and sets have the names of rs'.
func (s *snapshot) madeByUs(rs *firewall.Ruleset) bool {
	if s.hasOwner || s.marked || !s.noUserdata {
		return s.marked && !s.hasOwner
	}
	ours := map[string]bool{}
	for i := range rs.Chains {
		ours[rs.Chains[i].Name] = true
	}
	for i := range rs.Sets {
		ours[rs.Sets[i].Name] = true
	}
	for _, name := range s.names {
		if !ours[name] {
			return false
		}
	}
	return true
}

// ofOtherAgent reports whether the table belongs to another agent: its comment
// names an interface for which this agent has installed nothing.
func (t *table) ofOtherAgent(s *snapshot) bool {
	return s.marked && !s.hasOwner && s.tunnel != "" && !t.installed.hasTunnel(s.tunnel)
}

// conflict returns an error if the table in place of rs' belongs to others.
func (t *table) conflict(s *snapshot, rs *firewall.Ruleset) error {
	switch {
	case !s.exists:
		return nil
	case t.ofOtherAgent(s):
		return fmt.Errorf("nftables table inet %s belongs to another wirespan agent, for interface %s: choose another name as firewall.table", rs.Table, s.tunnel)
	case !s.madeByUs(rs):
		return fmt.Errorf("nftables table inet %s was not created by wirespan: remove it, or choose another name as firewall.table", rs.Table)
	}
	return nil
}

// checkConflicts returns an error if the table or its interim table belongs to
// others, before anything is changed. It reads nothing if the table is cached and
// only elements are to change. A kernel without nftables has no conflicts.
func (t *table) checkConflicts(rs *firewall.Ruleset) error {
	if t.cache != nil && len(*t.installed) == 1 && sameTableShape(&t.cache.ruleset, rs) {
		return nil
	}
	if err := t.forgetOtherAgents(); err != nil {
		return err
	}
	err := t.transact(func(uint32) error {
		for _, one := range []firewall.Ruleset{*rs, interimOf(rs)} {
			s, err := t.read(one.Table)
			if err != nil || !s.exists { // a table that does not exist needs no interim table
				return err
			}
			if err := t.conflict(&s, &one); err != nil {
				return err
			}
		}
		return nil
	})
	return ignore(err, errNoNftables)
}

// forgetOtherAgents drops from the installed rulesets those whose table belongs
// to another agent. Apply refused them, so rules and routes with their numbers
// belong to that agent, too.
func (t *table) forgetOtherAgents() error {
	var kept installed
	err := t.transact(func(uint32) error {
		kept = make(installed, 0, len(*t.installed))
		for _, rs := range *t.installed {
			s, err := t.readHeader(rs.Table)
			if err != nil {
				return err
			}
			if t.ofOtherAgent(&s) {
				t.log.Warn("nftables table belongs to another wirespan agent and is left in place", "table", rs.Table, "interface", s.tunnel)
				continue
			}
			kept = append(kept, rs)
		}
		return nil
	})
	if err == nil {
		*t.installed = kept
	}
	return ignore(err, errNoNftables)
}
