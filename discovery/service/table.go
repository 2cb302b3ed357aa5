package service

import (
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
)

// table is a [discovery.Table] that takes the messages of a watch. Reference servers send
// a "deleted" event also when only endpoints have expired, so a deletion waits until a
// List confirms it. The table belongs to the goroutine that reads the watch.
type table struct {
	*discovery.Table
	self    string
	deleted map[string]bool // by id; true: the List under way decides, false: the next one
}

func newTable(c *Config) *table {
	cluster := codec.Cluster{ID: c.ClusterID, Secret: c.Secret}
	open := func(raw discovery.RawAffiliate, known discovery.Known) discovery.Opened {
		return codec.OpenRaw(cluster, raw, known)
	}
	return &table{discovery.NewTable(c.AffiliateID, open, c.TTL), c.AffiliateID, map[string]bool{}}
}

// snapshot takes the first message of a watch, which holds everything that the server
// has. It confirms the waiting deletions of affiliates that it lacks.
func (t *table) snapshot(list []discovery.RawAffiliate, now time.Time) {
	t.present(list)
	for id := range t.deleted {
		t.Remove(id)
	}
	clear(t.deleted)
	t.Replace(list, now)
}

// delta takes a later message of a watch.
func (t *table) delta(e event, now time.Time) {
	if !e.deleted {
		t.present(e.affiliates)
		t.Update(e.affiliates, now)
		return
	}
	for _, a := range e.affiliates {
		if a.ID == t.self {
			t.Remove(t.self)
		} else if t.Has(a.ID) {
			t.deleted[a.ID] = false
		}
	}
}

// present cancels the deletion of affiliates that the server has.
func (t *table) present(list []discovery.RawAffiliate) {
	for _, a := range list {
		delete(t.deleted, a.ID)
	}
}

// verify marks the waiting deletions: the List that starts now decides them.
func (t *table) verify() {
	for id := range t.deleted {
		t.deleted[id] = true
	}
}

// verified applies that List: it deletes the marked affiliates that the List lacks.
func (t *table) verified(list []discovery.RawAffiliate, now time.Time) {
	var there []discovery.RawAffiliate
	for _, a := range list {
		if t.deleted[a.ID] {
			there = append(there, a)
		}
	}
	t.present(there)
	t.Update(there, now)
	for id, asked := range t.deleted {
		if asked {
			t.Remove(id)
			delete(t.deleted, id)
		}
	}
}

// unverified reports whether deletions wait for a List.
func (t *table) unverified() bool {
	for _, asked := range t.deleted {
		if !asked {
			return true
		}
	}
	return false
}
