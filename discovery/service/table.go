package service

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// table is what is known of the others. It outlives connections, and belongs
// to the goroutine that reads the watch.
type table struct {
	self    string
	secret  mesh.Secret
	grace   time.Duration // how long to keep what a snapshot misses
	entries map[string]*entry
	deleted map[string]bool // events to verify; true: the List under way will tell
	dirty   bool            // result changed since it was last taken
	full    bool            // the server holds more affiliates than the limit
	lost    bool            // the last snapshot missed more than half of what was known
	invalid []discovery.Problem
}

type entry struct {
	sum    [sha256.Size]byte // of the sealed form: the same is not opened twice
	opened discovery.Opened
	until  time.Time // zero: the server lists it
}

func newTable(self string, secret mesh.Secret, grace time.Duration) *table {
	return &table{self: self, secret: secret, grace: grace, entries: map[string]*entry{}, deleted: map[string]bool{}}
}

// snapshot takes the first message of a watch: everything the server has. What
// it misses may have left, or the server has lost it and it has not come back
// yet. It is kept for a while: a peer that is dropped for a moment is one whose
// networks are nobody's for a moment, and packets for them leave in the clear.
func (t *table) snapshot(list []*pb.Affiliate, now time.Time) {
	t.dirty, t.full, t.invalid = true, false, nil
	listed := make(map[string]bool, len(list))
	for _, a := range list {
		listed[a.GetId()] = true
	}
	for id := range t.deleted {
		if !listed[id] {
			delete(t.entries, id)
		}
	}
	clear(t.deleted)
	missing := 0
	for id := range t.entries {
		if !listed[id] {
			missing++
		}
	}
	t.lost = 2*missing > len(t.entries)
	for id, e := range t.entries {
		if !listed[id] && e.until.IsZero() {
			e.until = now.Add(t.grace)
		}
	}
	t.expire(now)
	t.upsert(list)
}

// delta takes a later message of a watch.
func (t *table) delta(m *pb.WatchResponse) {
	if !m.GetDeleted() {
		t.upsert(m.GetAffiliates())
		return
	}
	for _, a := range m.GetAffiliates() {
		if t.entries[a.GetId()] != nil {
			t.deleted[a.GetId()] = false
		}
	}
}

func (t *table) upsert(list []*pb.Affiliate) {
	for _, a := range list {
		if a.GetId() == t.self {
			continue
		}
		raw := discovery.RawAffiliate{ID: a.GetId(), Data: a.GetData(), Endpoints: a.GetEndpoints()}
		if err := discovery.CheckID(raw.ID); err != nil {
			t.invalid, t.dirty = discovery.OpenRaw(t.secret, raw).Problems, true
			continue
		}
		delete(t.deleted, raw.ID)
		e := t.entries[raw.ID]
		if e == nil && len(t.entries) >= discovery.MaxAffiliates {
			t.full, t.dirty = true, true
			continue
		}
		sum := digest(raw)
		if e == nil || e.sum != sum {
			e = &entry{sum: sum, opened: discovery.OpenRaw(t.secret, raw)}
			t.entries[raw.ID], t.dirty = e, true
		}
		if !e.until.IsZero() {
			e.until, t.dirty = time.Time{}, true
		}
	}
}

// verify marks the deletions that a List started now will decide.
func (t *table) verify() {
	for id := range t.deleted {
		t.deleted[id] = true
	}
}

// verified applies that List: what it holds was not deleted.
func (t *table) verified(list []*pb.Affiliate) {
	var present []*pb.Affiliate
	for _, a := range list {
		if t.deleted[a.GetId()] {
			present = append(present, a)
		}
	}
	t.upsert(present)
	for id, asked := range t.deleted {
		if asked {
			delete(t.entries, id)
			delete(t.deleted, id)
			t.dirty = true
		}
	}
}

// unverified says whether events wait for a List.
func (t *table) unverified() bool {
	for _, asked := range t.deleted {
		if !asked {
			return true
		}
	}
	return false
}

// expire drops what was kept long enough.
func (t *table) expire(now time.Time) {
	for id, e := range t.entries {
		if !e.until.IsZero() && !now.Before(e.until) {
			delete(t.entries, id)
			t.dirty = true
		}
	}
}

// nextExpiry is when expire has something to do; zero: never.
func (t *table) nextExpiry() time.Time {
	var next time.Time
	for _, e := range t.entries {
		if !e.until.IsZero() && (next.IsZero() || e.until.Before(next)) {
			next = e.until
		}
	}
	return next
}

// result is what can be used of the table, with what is wrong with the rest.
func (t *table) result() ([]mesh.Affiliate, []discovery.Problem) {
	t.dirty = false
	opened := make([]discovery.Opened, 0, len(t.entries))
	for _, e := range t.entries {
		opened = append(opened, e.opened)
	}
	affiliates, problems := discovery.Collect(opened)
	problems = slices.Concat(problems, t.invalid)
	if t.full {
		problems = append(problems, discovery.Problem{Reason: fmt.Sprintf("affiliates beyond the limit of %d ignored", discovery.MaxAffiliates)})
	}
	if t.lost && !t.nextExpiry().IsZero() {
		problems = append(problems, discovery.Problem{Reason: fmt.Sprintf("the server lost more than half of its affiliates: the missing ones are kept for up to %v", t.grace)})
	}
	return affiliates, problems
}

func digest(raw discovery.RawAffiliate) (sum [sha256.Size]byte) {
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
