package discovery

import (
	"cmp"
	"slices"
	"time"
)

// Opening costs time: decryption, and 50 µs and more for a signature. So it is paced: who
// changes an entry all the time must not keep the processor busy. An entry may be opened
// openBurst times in a row and then once per openInterval, all together totalBurst times
// and then once per totalInterval. An ordinary mesh never gets there.
//
// Of an entry that has to wait the newest data counts. What waits is opened every
// batchInterval, and what was opened longest ago comes first: a record that changes
// rarely does not stand behind those that change all the time.
const (
	openBurst     = 8
	openInterval  = 5 * time.Second
	totalBurst    = 2 * MaxAffiliates
	totalInterval = 10 * time.Millisecond
	batchInterval = 100 * time.Millisecond
)

// bucket limits how often something is done.
type bucket struct {
	paid time.Time // when all that was done is paid off, at one per interval
}

// ready reports whether n can be done at once.
func (b *bucket) ready(now time.Time, n, burst int, interval time.Duration) bool {
	return b.paid.Sub(now) <= time.Duration(burst-n)*interval
}

// spend counts one that is done.
func (b *bucket) spend(now time.Time, interval time.Duration) {
	if b.paid.Before(now) {
		b.paid = now
	}
	b.paid = b.paid.Add(interval)
}

func (t *Table) mayOpen(e *entry, n int, now time.Time) bool {
	return e.pace.ready(now, 1, openBurst, openInterval) && t.total.ready(now, n, totalBurst, totalInterval)
}

// take notes new data of an entry, and opens it unless it has to wait.
func (t *Table) take(e *entry, raw RawAffiliate, now time.Time) {
	if e.waiting == nil {
		t.waiting++
	}
	e.waiting = &raw
	if t.mayOpen(e, t.waiting, now) { // there is room for those that came before, too
		t.openEntry(e, now)
	} else if t.batch.IsZero() {
		t.batch = now.Add(batchInterval)
	}
}

// openEntry opens the data of an entry that waits.
func (t *Table) openEntry(e *entry, now time.Time) {
	e.pace.spend(now, openInterval)
	t.total.spend(now, totalInterval)
	e.openedAt = now
	raw, data := *e.waiting, e.data
	t.drop(e)
	if e == &t.own {
		e.opened = t.open(raw, Known{})
	} else {
		t.replace(e, raw)
	}
	if e.data != data || e.since.IsZero() {
		e.since = now
	}
	t.changed = true
}

// drop forgets the data of an entry that waits.
func (t *Table) drop(e *entry) {
	if e.waiting != nil {
		t.waiting--
		e.waiting = nil
	}
}

// openBatch opens what waits and may be opened now.
func (t *Table) openBatch(now time.Time) {
	if t.batch.IsZero() || now.Before(t.batch) {
		return
	}
	var due []*entry
	for _, e := range t.entries {
		if e.waiting != nil && t.mayOpen(e, 1, now) {
			due = append(due, e)
		}
	}
	if t.own.waiting != nil && t.mayOpen(&t.own, 1, now) {
		due = append(due, &t.own)
	}
	slices.SortFunc(due, func(a, b *entry) int {
		return cmp.Or(a.openedAt.Compare(b.openedAt), cmp.Compare(a.waiting.ID, b.waiting.ID))
	})
	for _, e := range due {
		if t.mayOpen(e, 1, now) {
			t.openEntry(e, now)
		}
	}
	t.batch = time.Time{}
	if t.waiting > 0 {
		t.batch = now.Add(batchInterval)
	}
}
