package discovery

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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
	open    func(RawAffiliate, Known) Opened
	grace   time.Duration
	entries map[string]*entry
	changed bool // Result would differ from its last return values
	aging   int  // entries in their grace period
	full    bool // the source holds more affiliates than the limit
	lost    bool // the last listing lacked more than half of the entries
	invalid []Problem
	ownRaw  RawAffiliate // this node's entry; without an ID if the source has none
	own     entry        // what is in it

	total   bucket    // of all that is opened
	waiting int       // entries with data that waits
	batch   time.Time // when it is opened; zero: none waits
}

type entry struct {
	sum    [sha256.Size]byte // of the sealed form, so that the same data is not opened twice
	data   [sha256.Size]byte // of the data in opened, so that no signature is verified twice
	opened Opened
	since  time.Time // when the source first had that
	until  time.Time // end of the grace period; zero while the source lists it

	pace     bucket
	openedAt time.Time
	waiting  *RawAffiliate // data that is not opened yet; nil: none
}

// NewTable returns an empty table. It opens affiliates with open, and keeps that with the
// id self apart. An affiliate that a listing lacks is kept for the duration grace.
func NewTable(self string, open func(RawAffiliate, Known) Opened, grace time.Duration) *Table {
	return &Table{self: self, open: open, grace: grace, entries: map[string]*entry{}}
}

// Replace takes a complete listing. For an entry that the listing lacks the grace period
// starts now: the member may have left, or the source may have lost it and the member has
// not published itself again yet.
func (t *Table) Replace(list []RawAffiliate, now time.Time) {
	t.changed, t.full, t.invalid, t.ownRaw = true, false, nil, RawAffiliate{}
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
			t.aging++
		}
	}
	t.lost = 2*missing > len(t.entries)
	t.expire(now)
	t.Update(list, now)
}

// Update takes affiliates that are new, changed or confirmed by the source. It opens them,
// or [Table.Advance] does later.
func (t *Table) Update(list []RawAffiliate, now time.Time) {
	for _, raw := range list {
		if raw.ID == t.self {
			t.updateOwn(raw, now)
		} else {
			t.update(raw, now)
		}
	}
}

func (t *Table) update(raw RawAffiliate, now time.Time) {
	if err := CheckID(raw.ID); err != nil {
		t.invalid, t.changed = []Problem{{Reason: "ignored an affiliate: " + err.Error()}}, true
		return
	}
	e := t.entries[raw.ID]
	if e == nil && len(t.entries) >= MaxAffiliates {
		t.full, t.changed = true, true
		return
	}
	if e == nil {
		e = &entry{}
		t.entries[raw.ID] = e
	}
	if sum := digest(raw); e.sum != sum {
		e.sum = sum
		t.take(e, raw, now)
	}
	if !e.until.IsZero() {
		e.until, t.changed = time.Time{}, true
		t.aging--
	}
}

// replace opens new data for an entry. Data that can't be used never
// replaces data that could: a source, or one who knows only the cluster id, could remove
// a member with garbage, and with a replay undo what it announced last.
func (t *Table) replace(e *entry, raw RawAffiliate) {
	data := sha256.Sum256(raw.Data)
	good := &e.opened.Affiliate
	opened := t.open(raw, Known{good.Record.Sequence, good.Record.Signed() && e.data == data})
	if opened.Affiliate.NodeID == "" && good.NodeID != "" {
		e.opened.Problems = opened.Problems
		return
	}
	e.data, e.opened = data, opened
}

// updateOwn takes this node's own entry.
func (t *Table) updateOwn(raw RawAffiliate, now time.Time) {
	sum := digest(raw)
	if t.ownRaw.ID == "" || t.own.sum != sum {
		t.ownRaw, t.changed = raw, true
	}
	if t.own.sum != sum {
		t.own.sum = sum
		t.take(&t.own, raw, now)
	}
}

// Own returns this node's entry, and what is in it. The entry has no ID if the source
// has none, and the affiliate no NodeID if the node has not signed it.
func (t *Table) Own() (raw RawAffiliate, a mesh.Affiliate) {
	if t.ownRaw.ID != "" && t.own.opened.Affiliate.Record.Signed() {
		a = t.own.opened.Affiliate
	}
	return t.ownRaw, a
}

// Remove removes an entry at once, because the source reports its deletion.
func (t *Table) Remove(id string) {
	if id == t.self && t.ownRaw.ID != "" {
		t.ownRaw, t.changed = RawAffiliate{}, true
	}
	if e := t.entries[id]; e != nil {
		t.drop(e)
		if !e.until.IsZero() {
			t.aging--
		}
		delete(t.entries, id)
		t.changed = true
	}
}

// Has reports whether there is an entry with this id.
func (t *Table) Has(id string) bool { return t.entries[id] != nil }

// Len returns the number of entries, unreadable ones included.
func (t *Table) Len() int { return len(t.entries) }

// Advance opens what had to wait, and removes the entries whose grace period has ended.
func (t *Table) Advance(now time.Time) {
	t.openBatch(now)
	t.expire(now)
}

func (t *Table) expire(now time.Time) {
	for id, e := range t.entries {
		if !e.until.IsZero() && !now.Before(e.until) {
			t.Remove(id)
		}
	}
}

// Next returns when Advance has something to do, or the zero time.
func (t *Table) Next() time.Time {
	next := t.nextExpiry()
	if next.IsZero() || !t.batch.IsZero() && t.batch.Before(next) {
		return t.batch
	}
	return next
}

// nextExpiry returns when the next grace period ends, or the zero time.
func (t *Table) nextExpiry() time.Time {
	var next time.Time
	if t.aging == 0 {
		return next
	}
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
	opened := make([]*Opened, 0, len(t.entries))
	for _, e := range t.entries {
		opened = append(opened, &e.opened)
	}
	affiliates, problems := Collect(opened)
	problems = append(problems, t.invalid...)
	if t.full {
		problems = append(problems, Problem{Reason: fmt.Sprintf("affiliates beyond the limit of %d ignored", MaxAffiliates)})
	}
	if t.lost && !t.nextExpiry().IsZero() {
		problems = append(problems, Problem{Reason: fmt.Sprintf("the server lost more than half of its affiliates: the missing ones are kept for up to %v", t.grace)})
	}
	return affiliates, problems
}

// Heard returns when the source has said what it says of each of these affiliates, which
// are of Result.
func (t *Table) Heard(affiliates []mesh.Affiliate) []Heard {
	out := make([]Heard, len(affiliates))
	for i := range affiliates {
		e := t.entries[affiliates[i].NodeID]
		out[i].Since = e.since
		if !e.until.IsZero() {
			out[i].Last = e.until.Add(-t.grace)
		}
	}
	return out
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
