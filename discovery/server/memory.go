package server

import (
	"context"
	"net/netip"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// memory is the default Store. One mutex is enough: every operation takes
// microseconds, and the code under the mutex never blocks, logs or sorts a list.
type memory struct {
	log   hclog.Logger
	level hclog.Level // for affiliates that join and leave

	shares, affiliates *pool // of the clusters, and of the affiliates in all of them

	mu       sync.Mutex
	clusters map[string]*cluster // by id; none is empty
}

// counts are the values of the gauges.
type counts struct{ clusters, affiliates, endpoints, watchers int }

// newMemory returns a store for the cluster only, or for all clusters if only is
// empty. In the first case it logs at Info which affiliates join and leave, in the
// second at Debug.
func newMemory(only string, log hclog.Logger) *memory {
	m := &memory{
		log: log, level: hclog.Debug,
		shares: newPool(maxClusters), affiliates: newPool(maxTotalAffiliates), clusters: map[string]*cluster{},
	}
	if only != "" {
		m.level, m.shares, m.affiliates = hclog.Info, newPool(8*maxOnly), newPool(maxOnly*discovery.MaxAffiliates)
	}
	return m
}

func (m *memory) Update(_ context.Context, u Update, now time.Time) error {
	joined, err := m.update(u, now)
	if joined {
		m.log.Log(m.level, "affiliate joined", "cluster", mesh.ShortClusterID(u.Cluster), "affiliate", shortAffiliateID(u.Affiliate))
	}
	return err
}

func (m *memory) update(u Update, now time.Time) (joined bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.cluster(u.Cluster, clientKey(u.From))
	if err != nil {
		return false, err
	}
	before := len(c.affiliates)
	err = c.update(u, now)
	joined = len(c.affiliates) > before
	m.dropEmpty(u.Cluster)
	return joined, err
}

func (m *memory) Delete(_ context.Context, cluster, affiliate string) error {
	m.mu.Lock()
	c := m.clusters[cluster]
	removed := c != nil && c.remove(affiliate)
	if removed {
		m.dropEmpty(cluster)
	}
	m.mu.Unlock()
	if removed {
		m.log.Log(m.level, "affiliate left", "cluster", mesh.ShortClusterID(cluster), "affiliate", shortAffiliateID(affiliate))
	}
	return nil
}

func (m *memory) List(_ context.Context, cluster string) ([]Affiliate, error) {
	m.mu.Lock()
	var list []Affiliate
	if c := m.clusters[cluster]; c != nil { // a list creates no cluster
		list = c.list()
	}
	m.mu.Unlock()
	return sorted(list), nil
}

func (m *memory) Watch(_ context.Context, cluster string, from netip.Addr) (Subscription, error) {
	w := &watcher{from: clientKey(from), events: make(chan Event, watchBuffer)}
	list, err := m.subscribe(cluster, w)
	if err != nil {
		return Subscription{}, err
	}
	return Subscription{
		Affiliates: sorted(list),
		Events:     w.events,
		Close:      func() { m.unsubscribe(cluster, w) },
	}, nil
}

func (m *memory) subscribe(cluster string, w *watcher) ([]Affiliate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.cluster(cluster, w.from)
	if err != nil {
		return nil, err
	}
	defer m.dropEmpty(cluster)
	if err := c.subscribe(w); err != nil {
		return nil, err
	}
	return c.list(), nil
}

func (m *memory) unsubscribe(cluster string, w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clusters[cluster]; c != nil { // nil if w lost an event and the rest expired
		c.unsubscribe(w)
		m.dropEmpty(cluster)
	}
}

// expire removes what has expired by now, and returns how much that was.
func (m *memory) expire(now time.Time) (clusters, affiliates int) {
	type gone struct{ cluster, affiliate string }
	var log []gone
	m.mu.Lock()
	for id, c := range m.clusters {
		for _, a := range c.expire(now) {
			log = append(log, gone{id, a})
		}
		if m.dropEmpty(id) {
			clusters++
		}
	}
	m.mu.Unlock()
	for _, g := range log {
		m.log.Log(m.level, "affiliate expired", "cluster", mesh.ShortClusterID(g.cluster), "affiliate", shortAffiliateID(g.affiliate))
	}
	return clusters, len(log)
}

func (m *memory) counts() counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := counts{clusters: len(m.clusters)}
	for _, c := range m.clusters {
		n.affiliates += len(c.affiliates)
		n.watchers += len(c.watchers)
		for _, a := range c.affiliates {
			n.endpoints += len(a.endpoints)
		}
	}
	return n
}

// cluster returns a cluster, which it creates if need be, in the share of an address. The
// caller drops it if it stays empty.
func (m *memory) cluster(id string, from netip.Prefix) (*cluster, error) {
	if c := m.clusters[id]; c != nil {
		return c, nil
	}
	if !m.shares.take(from, 1) {
		if m.shares.full() {
			return nil, ErrTooManyClusters
		}
		return nil, ErrTooManyClustersFromAddress
	}
	c := newCluster(from, m.affiliates)
	m.clusters[id] = c
	return c, nil
}

// dropEmpty removes a cluster if it is empty, and reports whether it was.
func (m *memory) dropEmpty(id string) bool {
	c := m.clusters[id]
	if !c.empty() {
		return false
	}
	m.shares.put(c.from, 1)
	delete(m.clusters, id)
	return true
}

func sorted(list []Affiliate) []Affiliate {
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}
