package server

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"github.com/wirespan/wirespan/discovery"
)

// cluster is the state of one cluster. It reads no clock and takes no lock.
type cluster struct {
	affiliates map[string]*affiliate
	watchers   map[*watcher]struct{}
}

type affiliate struct {
	data      []byte
	expiry    time.Time
	endpoints []endpoint // distinct; the latest expiry first, then in order of arrival
}

type endpoint struct {
	data   []byte
	expiry time.Time
}

type watcher struct{ events chan Event }

func newCluster() *cluster {
	return &cluster{affiliates: map[string]*affiliate{}, watchers: map[*watcher]struct{}{}}
}

func (c *cluster) empty() bool { return len(c.affiliates) == 0 && len(c.watchers) == 0 }

// update applies u and notifies watchers. After an error, what was applied before
// it stays.
func (c *cluster) update(u Update, now time.Time) (err error) {
	a, changed := c.affiliates[u.Affiliate], len(u.Data) > 0
	if a == nil {
		if len(c.affiliates) >= discovery.MaxAffiliates {
			return ErrTooManyAffiliates
		}
		a, changed = &affiliate{expiry: now}, true
		c.affiliates[u.Affiliate] = a
	}
	expiry := now.Add(max(0, u.TTL))
	if len(u.Data) > 0 {
		a.data, a.expiry = u.Data, expiry
	}
	added, err := a.addEndpoints(u.Endpoints, expiry)
	if changed || added {
		c.notify(Event{Affiliate: a.view(u.Affiliate)})
	}
	return err
}

// addEndpoints prolongs the life of known endpoints and adds new ones. Peers try
// endpoints in turn, so those of the last update come first and keep their order.
// A change of order alone does not notify.
func (a *affiliate) addEndpoints(eps [][]byte, expiry time.Time) (added bool, err error) {
	a.expiry = later(a.expiry, expiry)
	arrived := make([]endpoint, 0, len(eps))
	for _, data := range eps {
		same := func(e endpoint) bool { return bytes.Equal(e.data, data) }
		if slices.ContainsFunc(arrived, same) {
			continue
		}
		if i := slices.IndexFunc(a.endpoints, same); i >= 0 {
			arrived = append(arrived, endpoint{data, later(a.endpoints[i].expiry, expiry)})
			a.endpoints = slices.Delete(a.endpoints, i, i+1)
			continue
		}
		if len(a.endpoints)+len(arrived) >= discovery.MaxEndpoints {
			err = ErrTooManyEndpoints
			break
		}
		arrived = append(arrived, endpoint{data, expiry})
		added = true
	}
	a.endpoints = append(a.endpoints, arrived...)
	sort.SliceStable(a.endpoints, func(i, j int) bool { return a.endpoints[i].expiry.After(a.endpoints[j].expiry) })
	return added, err
}

// remove deletes an affiliate and reports whether it existed.
func (c *cluster) remove(id string) bool {
	if c.affiliates[id] == nil {
		return false
	}
	delete(c.affiliates, id)
	c.notify(Event{Affiliate: Affiliate{ID: id}, Deleted: true})
	return true
}

// expire removes what has expired and returns the ids of the removed affiliates.
//
// An affiliate that only loses endpoints is announced with the remaining ones.
// Sidero's server announces it as deleted, although it still lists it, so that
// clients lose a live member until its next update.
func (c *cluster) expire(now time.Time) (removed []string) {
	for id, a := range c.affiliates {
		if a.expiry.Before(now) {
			c.remove(id)
			removed = append(removed, id)
			continue
		}
		before := len(a.endpoints)
		a.endpoints = slices.DeleteFunc(a.endpoints, func(e endpoint) bool { return !e.expiry.After(now) })
		if len(a.endpoints) < before {
			c.notify(Event{Affiliate: a.view(id)})
		}
	}
	return removed
}

// notify sends an event to all watchers and never blocks. A watcher whose buffer is
// full loses the event; it is removed and its channel closed.
func (c *cluster) notify(ev Event) {
	for w := range c.watchers {
		select {
		case w.events <- ev:
		default:
			close(w.events)
			delete(c.watchers, w)
		}
	}
}

func (c *cluster) list() []Affiliate {
	out := make([]Affiliate, 0, len(c.affiliates))
	for id, a := range c.affiliates {
		out = append(out, a.view(id))
	}
	return out
}

func (a *affiliate) view(id string) Affiliate {
	out := Affiliate{ID: id, Data: a.data}
	if len(a.endpoints) > 0 {
		out.Endpoints = make([][]byte, len(a.endpoints))
		for i, e := range a.endpoints {
			out.Endpoints[i] = e.data
		}
	}
	return out
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
