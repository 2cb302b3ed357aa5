package discovery

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Table holds the other members that a registry has found, and lets them age. It
// outlives connections: an affiliate that the source no longer lists is kept for a grace
// period. If a peer were removed for a moment, its networks would belong to no peer for
// that moment, and packets for them would leave in the clear.
//
// Time is an argument. A Table belongs to one goroutine and holds at most
// [MaxAffiliates] entries.
type Table struct {
	self    string
	open    func(RawAffiliate) Opened
	grace   time.Duration
	entries map[string]*entry
	changed bool // Result would differ from its last return values
	full    bool // the source holds more affiliates than the limit
	lost    bool // the last listing lacked more than half of the entries
	invalid []Problem
}

type entry struct {
	sum    [sha256.Size]byte // of the sealed form, so that the same data is not opened twice
	opened Opened
	until  time.Time // end of the grace period; zero while the source lists it
}

// NewTable returns an empty table. It ignores affiliates with the id self and opens the
// others with open. An affiliate that a listing lacks is kept for the duration grace.
func NewTable(self string, open func(RawAffiliate) Opened, grace time.Duration) *Table {
	return &Table{self: self, open: open, grace: grace, entries: map[string]*entry{}}
}

// Replace takes a complete listing. For an entry that the listing lacks the grace period
// starts now: the member may have left, or the source may have lost it and the member has
// not published itself again yet.
func (t *Table) Replace(list []RawAffiliate, now time.Time) {
	t.changed, t.full, t.invalid = true, false, nil
	listed := make(map[string]bool, len(list))
	for _, raw := range list {
		listed[raw.ID] = true
	}
	missing := 0
	for id, e := range t.entries {
		if listed[id] {
			continue
		}
		missing++
		if e.until.IsZero() {
			e.until = now.Add(t.grace)
		}
	}
	t.lost = 2*missing > len(t.entries)
	t.Expire(now)
	t.Update(list)
}

// Update takes affiliates that are new, changed or confirmed by the source.
func (t *Table) Update(list []RawAffiliate) {
	for _, raw := range list {
		if raw.ID != t.self {
			t.update(raw)
		}
	}
}

func (t *Table) update(raw RawAffiliate) {
	if err := CheckID(raw.ID); err != nil {
		t.invalid, t.changed = []Problem{{Reason: "ignored an affiliate: " + err.Error()}}, true
		return
	}
	e := t.entries[raw.ID]
	if e == nil && len(t.entries) >= MaxAffiliates {
		t.full, t.changed = true, true
		return
	}
	sum := digest(raw)
	if e == nil || e.sum != sum {
		e = &entry{sum: sum, opened: t.open(raw)}
		t.entries[raw.ID], t.changed = e, true
	}
	if !e.until.IsZero() {
		e.until, t.changed = time.Time{}, true
	}
}

// Remove removes an entry at once, because the source reports its deletion.
func (t *Table) Remove(id string) {
	if t.Has(id) {
		delete(t.entries, id)
		t.changed = true
	}
}

// Has reports whether there is an entry with this id.
func (t *Table) Has(id string) bool { return t.entries[id] != nil }

// Len returns the number of entries, unreadable ones included.
func (t *Table) Len() int { return len(t.entries) }

// Expire removes the entries whose grace period has ended.
func (t *Table) Expire(now time.Time) {
	for id, e := range t.entries {
		if !e.until.IsZero() && !now.Before(e.until) {
			t.Remove(id)
		}
	}
}

// NextExpiry returns when the next grace period ends, or the zero time.
func (t *Table) NextExpiry() time.Time {
	var next time.Time
	for _, e := range t.entries {
		if !e.until.IsZero() && (next.IsZero() || e.until.Before(next)) {
			next = e.until
		}
	}
	return next
}

// Changed reports whether Result would return other values than the last time.
func (t *Table) Changed() bool { return t.changed }

// Result returns the usable affiliates, sorted by node id, and why the others
// were refused.
func (t *Table) Result() ([]mesh.Affiliate, []Problem) {
	t.changed = false
	opened := make([]Opened, 0, len(t.entries))
	for _, e := range t.entries {
		opened = append(opened, e.opened)
	}
	affiliates, problems := Collect(opened)
	problems = slices.Concat(problems, t.invalid)
	if t.full {
		problems = append(problems, Problem{Reason: fmt.Sprintf("affiliates beyond the limit of %d ignored", MaxAffiliates)})
	}
	if t.lost && !t.NextExpiry().IsZero() {
		problems = append(problems, Problem{Reason: fmt.Sprintf("the server lost more than half of its affiliates: the missing ones are kept for up to %v", t.grace)})
	}
	return affiliates, problems
}

func digest(raw RawAffiliate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, b := range append([][]byte{raw.Data}, raw.Endpoints...) {
		var size [8]byte
		binary.LittleEndian.PutUint64(size[:], uint64(len(b)))
		h.Write(size[:])
		h.Write(b)
	}
	h.Sum(sum[:0])
	return sum
}
