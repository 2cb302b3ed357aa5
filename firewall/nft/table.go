package nft

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// table keeps the nftables table of a ruleset in the kernel.
type table struct {
	nl *netlink.Nftables // nil: the kernel has no netfilter
	// send has a batch checked or committed. Tests hide features in it.
	send      func(b *netlink.Batch, how func(*netlink.Batch) error) error
	log       hclog.Logger
	installed *installed
	cache     *tableCache // nil: read the table before its next change
	host      *hostRules  // as last read
}

// tableCache is the table in one generation of nftables. While that generation
// lasts, no program has changed the table, and it need not be read.
type tableCache struct {
	generation  uint32
	fingerprint []string         // see snapshot
	ruleset     firewall.Ruleset // its table, and the tunnel's name by its routes
}

// errMustReplace says that more differs than elements of sets.
var errMustReplace = errors.New("the table has to be replaced")

func sendBatch(b *netlink.Batch, how func(*netlink.Batch) error) error { return how(b) }

// apply makes the table equal that of rs. A ruleset without chains has no table.
//
// Replacing a table in one transaction is not enough: some kernels (6.18 is one)
// show packets the new rules before the elements of the new sets. An interim table
// with the same rules and elements covers that instant. While both tables are in
// force, packets get the same marks and verdicts, and each drops what the other
// drops.
func (t *table) apply(rs *firewall.Ruleset) error {
	interim := interimOf(rs)
	if len(rs.Chains) == 0 {
		return errors.Join(t.remove(rs), t.remove(&interim))
	}
	fresh := t.cache == nil // an earlier process may have left its interim table
	err := t.update(rs, false)
	switch {
	case errors.Is(err, errMustReplace):
		if err = t.create(&interim); err == nil {
			err = t.update(rs, true)
		}
	case err != nil || !fresh:
		return err
	}
	return errors.Join(err, t.remove(&interim))
}

// interimOf returns the ruleset of the interim table. Its routes are for the
// table's comment.
func interimOf(rs *firewall.Ruleset) firewall.Ruleset {
	return firewall.Ruleset{Table: rs.Table + "_next", Sets: rs.Sets, Chains: rs.Chains, Routes: rs.Routes}
}

// create creates a table, and replaces an existing one.
func (t *table) create(rs *firewall.Ruleset) error {
	return t.transact(func(generation uint32) error {
		d, err := t.diff(rs, generation)
		if err != nil {
			return err
		}
		tx := t.begin(generation)
		if err = tx.replaceTable(rs, d.exists); err == nil {
			err = t.commit(tx, generation)
		}
		if err != nil {
			return fmt.Errorf("create nftables table %s: %w", rs.Table, explainCommit(err, rs))
		}
		return nil
	})
}

// update changes the table in one transaction, or in none if nothing differs. It
// returns errMustReplace if an existing table has to be replaced and mayReplace
// is not set.
func (t *table) update(rs *firewall.Ruleset, mayReplace bool) error {
	return t.transact(func(generation uint32) error {
		d, err := t.diff(rs, generation)
		if err != nil {
			return err
		}
		tx := t.begin(generation)
		switch {
		case d.elementsOnly:
			tx.changeElements(rs, d.sets)
		case d.exists && !mayReplace:
			return errMustReplace
		default:
			err = tx.replaceTable(rs, d.exists)
		}
		if err != nil {
			return fmt.Errorf("nftables table %s: %w", rs.Table, err)
		}
		cache := &tableCache{generation: generation, fingerprint: d.fingerprint, ruleset: *rs}
		if tx.Empty() {
			t.cache = cache
			return nil
		}
		t.cache = nil
		if err := t.commit(tx, generation); err != nil {
			return fmt.Errorf("change nftables table %s: %w", rs.Table, explainCommit(err, rs))
		}
		cache.generation = nextGeneration(generation)
		t.cache = cache
		if d.elementsOnly {
			return nil
		}
		return t.readFingerprint(rs.Table)
	})
}

// readFingerprint completes the cache with the handles of a table that was just
// created. If nftables changed meanwhile, it drops the cache instead, and the next
// Apply replaces the table again.
func (t *table) readFingerprint(name string) error {
	s, err := t.read(name)
	if err != nil {
		t.cache = nil
		return err
	}
	if now, err := t.generation(); err != nil || now != t.cache.generation {
		t.cache = nil
		return err
	}
	t.cache.fingerprint = s.fingerprint
	return nil
}

// removeAllBut deletes the tables of all installed rulesets but that of one name.
func (t *table) removeAllBut(name string) error {
	for i := range *t.installed {
		if old := &(*t.installed)[i]; old.Table != name {
			if err := t.remove(old); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeAll deletes the tables and interim tables of all installed rulesets.
func (t *table) removeAll() error {
	for i := range *t.installed {
		rs := &(*t.installed)[i]
		interim := interimOf(rs)
		if err := errors.Join(t.remove(rs), t.remove(&interim)); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the table of a ruleset, unless it belongs to others.
func (t *table) remove(rs *firewall.Ruleset) error {
	err := t.transact(func(generation uint32) error {
		s, err := t.read(rs.Table)
		if err != nil || !s.exists {
			return err
		}
		if err := t.conflict(&s, rs); err != nil {
			t.log.Warn("nftables table belongs to others and is left in place", "table", rs.Table)
			return nil
		}
		if t.cache != nil && t.cache.ruleset.Table == rs.Table {
			t.cache = nil
		}
		tx := t.begin(generation)
		tx.deleteTable(rs.Table)
		if err := t.commit(tx, generation); err != nil {
			return fmt.Errorf("delete nftables table %s: %w", rs.Table, explainCommit(err, rs))
		}
		if t.cache != nil && t.cache.generation == generation {
			t.cache.generation = nextGeneration(generation)
		}
		return nil
	})
	return ignore(err, errNoNftables)
}

// commit sends a transaction that was begun in a generation. It changes nothing of
// other programs' tables.
func (t *table) commit(tx *transaction, generation uint32) error {
	err := tx.commit(t.send)
	if err == nil && t.host != nil && t.host.generation == generation {
		t.host.generation = nextGeneration(generation)
	}
	return err
}

// transact calls do with the current generation of nftables, and repeats that if
// another program started a new generation meanwhile.
func (t *table) transact(do func(generation uint32) error) error {
	var err error
	for range 20 {
		var generation uint32
		if generation, err = t.generation(); err != nil {
			return err
		}
		if err = do(generation); !errors.Is(err, unix.ERESTART) && !errors.Is(err, netlink.ErrInterrupted) {
			return err
		}
	}
	return err
}

// nextGeneration returns the generation that a transaction starts.
func nextGeneration(generation uint32) uint32 { return max(generation+1, 1) }
