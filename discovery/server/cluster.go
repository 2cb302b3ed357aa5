package server

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/wirespan/wirespan/discovery"
)

// cluster is the state of one cluster. It reads no clock.
type cluster struct {
	from       netip.Prefix // the address in whose share the cluster counts
	total, own *pool        // of affiliates: in all clusters, and in this one
	watches    *pool
	affiliates map[string]*affiliate
	watchers   map[*watcher]struct{}
}

type affiliate struct {
	data      []byte
	expiry    time.Time
	endpoints []endpoint   // distinct, in order of arrival
	from      netip.Prefix // the address in whose share it counts
}

type endpoint struct {
	data   []byte
	expiry time.Time
}

type watcher struct {
	from   netip.Prefix // the address in whose share it counts
	events chan Event
}

// newCluster returns a cluster that an address has brought. Total is the pool of the
// affiliates in all clusters.
func newCluster(from netip.Prefix, total *pool) *cluster {
	return &cluster{
		from: from, total: total, own: newPool(discovery.MaxAffiliates), watches: newPool(maxWatchersPerCluster),
		affiliates: map[string]*affiliate{}, watchers: map[*watcher]struct{}{},
	}
}

func (c *cluster) empty() bool { return len(c.affiliates) == 0 && len(c.watchers) == 0 }

// update applies u and notifies watchers. After an error, what was applied before
// it stays.
func (c *cluster) update(u Update, now time.Time) (err error) {
	a, changed := c.affiliates[u.Affiliate], len(u.Data) > 0
	if a == nil {
		a, changed = &affiliate{expiry: now, from: clientKey(u.From)}, true
		if err := c.add(u.Affiliate, a); err != nil {
			return err
		}
	}
	expiry := now.Add(max(0, u.TTL))
	if len(u.Data) > 0 {
		a.data, a.expiry = u.Data, expiry
		c.attribute(a, clientKey(u.From))
	}
	added, err := a.addEndpoints(u.Endpoints, expiry)
	if changed || added {
		c.notify(Event{Affiliate: a.view(u.Affiliate)})
	}
	return err
}

// add adds a new affiliate, if there is room for it and its address has not more than its
// share, of this cluster and of all.
func (c *cluster) add(id string, a *affiliate) error {
	switch {
	case c.take(a.from):
		c.affiliates[id] = a
		return nil
	case c.own.full():
		return ErrTooManyAffiliates
	case c.total.full():
		return ErrTooManyTotalAffiliates
	default:
		return ErrTooManyFromAddress
	}
}

// take counts an affiliate in the shares of an address.
func (c *cluster) take(from netip.Prefix) bool {
	if !c.own.take(from, 1) {
		return false
	}
	if !c.total.take(from, 1) {
		c.own.put(from, 1)
		return false
	}
	return true
}

func (c *cluster) put(from netip.Prefix) {
	c.own.put(from, 1)
	c.total.put(from, 1)
}

// attribute counts an affiliate whose address is not known, since it was restored from a
// snapshot, in the share of an address.
func (c *cluster) attribute(a *affiliate, from netip.Prefix) {
	if !a.from.IsValid() && c.take(from) {
		c.put(a.from)
		a.from = from
	}
}

// addEndpoints prolongs the life of known endpoints and adds new ones behind them, as
// Sidero's server does. Peers try endpoints in turn: those that the owner has announced
// come before those where others have seen it later, whoever updates them.
func (a *affiliate) addEndpoints(eps [][]byte, expiry time.Time) (added bool, err error) {
	a.expiry = later(a.expiry, expiry)
	for _, data := range eps {
		i := slices.IndexFunc(a.endpoints, func(e endpoint) bool { return bytes.Equal(e.data, data) })
		switch {
		case i >= 0:
			a.endpoints[i].expiry = later(a.endpoints[i].expiry, expiry)
		case len(a.endpoints) >= discovery.MaxEndpoints:
			return added, ErrTooManyEndpoints
		default:
			a.endpoints = append(a.endpoints, endpoint{data, expiry})
			added = true
		}
	}
	return added, nil
}

// remove deletes an affiliate and reports whether it existed.
func (c *cluster) remove(id string) bool {
	a := c.affiliates[id]
	if a == nil {
		return false
	}
	c.put(a.from)
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
			c.unsubscribe(w)
		}
	}
}

// subscribe adds a watcher, if there is room for it and its address has not more than its
// share.
func (c *cluster) subscribe(w *watcher) error {
	switch {
	case c.watches.take(w.from, 1):
		c.watchers[w] = struct{}{}
		return nil
	case c.watches.full():
		return ErrTooManyWatchers
	default:
		return ErrTooManyWatchesFromAddress
	}
}

func (c *cluster) unsubscribe(w *watcher) {
	if _, ok := c.watchers[w]; ok {
		c.watches.put(w.from, 1)
		delete(c.watchers, w)
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
