package nft

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

// known is what the nftables table is as long as they are in this generation.
type known struct {
	generation uint32
	shape      []string         // see found
	rs         firewall.Ruleset // of its routes only the tunnel's name
}

// errReplaces says that there is a table that has to be replaced.
var errReplaces = errors.New("the table has to be replaced")

// applyTable makes the nftables table be rs, or finds that it is that.
//
// One transaction that replaces a table is not enough: some kernels (6.18 is one) show packets
// the new rules before the elements of the new sets. So a second table with the
// same content bridges that instant. Where both are in force, marks and verdicts
// are the same, and what either drops is dropped.
func (f *Firewall) applyTable(rs *firewall.Ruleset) error {
	bridge := bridgeOf(rs)
	unknown := f.known == nil // then an earlier process may have been killed on its bridge
	err := f.commitTable(rs, false)
	switch {
	case errors.Is(err, errReplaces):
		if err = f.build(&bridge); err == nil {
			err = f.commitTable(rs, true)
		}
	case err != nil || !unknown:
		return err
	}
	return errors.Join(err, f.removeTable(&bridge))
}

// bridgeOf is a table's stand-in while it is replaced. The routes are for its
// comment.
func bridgeOf(rs *firewall.Ruleset) firewall.Ruleset {
	return firewall.Ruleset{Table: rs.Table + "_next", Sets: rs.Sets, Chains: rs.Chains, Routes: rs.Routes}
}

// build makes a table anew.
func (f *Firewall) build(rs *firewall.Ruleset) error {
	return f.transact(func(generation uint32) error {
		have, err := f.look(rs, generation)
		if err != nil {
			return err
		}
		b := newBatch(f.nft, generation)
		if err = b.replace(rs, have.exists); err == nil {
			err = b.commit()
		}
		if err != nil {
			return fmt.Errorf("make nftables table %s: %w", rs.Table, explain(err, rs))
		}
		return nil
	})
}

// commitTable changes the table in one transaction, or none. It replaces one
// only if it may.
func (f *Firewall) commitTable(rs *firewall.Ruleset, mayReplace bool) error {
	return f.transact(func(generation uint32) error {
		have, err := f.look(rs, generation)
		if err != nil {
			return err
		}
		whole := have.sets == nil
		if whole && have.exists && !mayReplace {
			return errReplaces
		}
		b := newBatch(f.nft, generation)
		if whole {
			err = b.replace(rs, have.exists)
		} else {
			have.change(b, rs)
		}
		if err != nil {
			return fmt.Errorf("nftables table %s: %w", rs.Table, err)
		}
		now := &known{generation: generation, shape: have.shape, rs: *rs}
		if b.empty() {
			f.known = now
			return nil
		}
		f.known = nil
		if err := b.commit(); err != nil {
			return fmt.Errorf("change nftables table %s: %w", rs.Table, explain(err, rs))
		}
		now.generation = after(generation)
		f.known = now
		if whole {
			return f.learn(rs.Table)
		}
		return nil
	})
}

// after is the generation that a transaction begins.
func after(generation uint32) uint32 { return max(generation+1, 1) }

// transact does what depends on nftables being in one generation, again if they
// are not any more.
func (f *Firewall) transact(do func(generation uint32) error) error {
	var err error
	for range 20 {
		var generation uint32
		if generation, err = f.nft.generation(); err != nil {
			return err
		}
		if err = do(generation); !errors.Is(err, unix.ERESTART) && !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

// learn notes the handles of a table that was just made. If others changed
// nftables meanwhile, nothing is known, and the next Apply makes the table again.
func (f *Firewall) learn(table string) error {
	got, err := f.nft.inspect(table)
	if err != nil {
		f.known = nil
		return err
	}
	if now, err := f.nft.generation(); err != nil || now != f.known.generation {
		f.known = nil
		return err
	}
	f.known.shape = got.shape
	return nil
}

// content is what the kernel has in place of a ruleset's table.
type content struct {
	exists bool
	shape  []string
	sets   []contentSet // as in the ruleset; nil: not worth a comparison
}

type contentSet struct {
	remove, add []interval
	flush       bool // it has things that are no intervals
}

// look compares the table to rs. It reads the kernel's only if somebody else
// changed nftables since.
func (f *Firewall) look(rs *firewall.Ruleset, generation uint32) (content, error) {
	k := f.known
	if k != nil && k.rs.Table == rs.Table && k.generation == generation {
		have := content{exists: true, shape: k.shape}
		if !sameShape(&k.rs, rs) {
			return have, nil
		}
		have.sets = make([]contentSet, len(rs.Sets))
		for i := range rs.Sets {
			add, remove := firewall.Diff(k.rs.Sets[i].Elements, rs.Sets[i].Elements)
			have.sets[i] = contentSet{remove: sorted(remove), add: sorted(add)}
		}
		return have, nil
	}
	got, err := f.nft.inspect(rs.Table)
	if err != nil {
		return content{}, err
	}
	if err := f.conflict(&got, rs); err != nil {
		f.known = nil // the next Apply finds that first
		return content{}, err
	}
	have := content{exists: got.exists, shape: got.shape}
	if k == nil || k.rs.Table != rs.Table || !slices.Equal(got.shape, k.shape) || !sameShape(&k.rs, rs) {
		return have, nil
	}
	have.sets, err = f.nft.compare(rs)
	return have, err
}

// compare reads the sets, and says how they differ.
func (s *socket) compare(rs *firewall.Ruleset) ([]contentSet, error) {
	sets := make([]contentSet, len(rs.Sets))
	for i := range rs.Sets {
		elements, err := s.elements(rs.Table, rs.Sets[i].Name)
		if err != nil {
			return nil, err
		}
		want := sorted(rs.Sets[i].Elements)
		if intervals, err := pair(elements); err != nil {
			sets[i] = contentSet{flush: true, add: want}
		} else {
			sets[i].remove, sets[i].add = differ(intervals, want)
		}
	}
	return sets, nil
}

// change makes the sets' elements be those of rs.
func (c *content) change(b *batch, rs *firewall.Ruleset) {
	for i, s := range c.sets {
		name := rs.Sets[i].Name
		if s.flush {
			b.flush(rs.Table, name)
		}
		b.elements(unix.NFT_MSG_DELSETELEM, rs.Table, name, s.remove)
		b.elements(unix.NFT_MSG_NEWSETELEM, rs.Table, name, s.add)
	}
}

// sameShape reports whether two tables, comments included, differ in nothing but
// elements.
func sameShape(a, b *firewall.Ruleset) bool {
	x := firewall.Ruleset{Table: a.Table, Sets: a.Sets, Chains: a.Chains}
	return tunnelOf(a) == tunnelOf(b) && x.SameShape(firewall.Ruleset{Table: b.Table, Sets: b.Sets, Chains: b.Chains})
}
