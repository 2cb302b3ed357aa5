package service

import (
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"

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
func (t *table) snapshot(list []*pb.Affiliate, now time.Time) {
	t.present(list)
	for id := range t.deleted {
		t.Remove(id)
	}
	clear(t.deleted)
	t.Replace(raw(list), now)
}

// delta takes a later message of a watch.
func (t *table) delta(m *pb.WatchResponse, now time.Time) {
	if !m.GetDeleted() {
		t.present(m.GetAffiliates())
		t.Update(raw(m.GetAffiliates()), now)
		return
	}
	for _, a := range m.GetAffiliates() {
		if a.GetId() == t.self {
			t.Remove(t.self)
		} else if t.Has(a.GetId()) {
			t.deleted[a.GetId()] = false
		}
	}
}

// present cancels the deletion of affiliates that the server has.
func (t *table) present(list []*pb.Affiliate) {
	for _, a := range list {
		delete(t.deleted, a.GetId())
	}
}

// verify marks the waiting deletions: the List that starts now decides them.
func (t *table) verify() {
	for id := range t.deleted {
		t.deleted[id] = true
	}
}

// verified applies that List: it deletes the marked affiliates that the List lacks.
func (t *table) verified(list []*pb.Affiliate, now time.Time) {
	var there []*pb.Affiliate
	for _, a := range list {
		if t.deleted[a.GetId()] {
			there = append(there, a)
		}
	}
	t.present(there)
	t.Update(raw(there), now)
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

func raw(list []*pb.Affiliate) []discovery.RawAffiliate {
	out := make([]discovery.RawAffiliate, len(list))
	for i, a := range list {
		out[i] = discovery.RawAffiliate{ID: a.GetId(), Data: a.GetData(), Endpoints: a.GetEndpoints()}
	}
	return out
}
