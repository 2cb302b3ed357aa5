package server

import (
	"context"
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
	log         hclog.Logger
	level       hclog.Level // for affiliates that join and leave
	maxClusters int

	affiliates *pool

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
		log: log, level: hclog.Debug, maxClusters: maxClusters,
		affiliates: newPool(maxTotalAffiliates), clusters: map[string]*cluster{},
	}
	if only != "" {
		m.level, m.maxClusters, m.affiliates = hclog.Info, 1, newPool(discovery.MaxAffiliates)
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
	c, err := m.cluster(u.Cluster)
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

func (m *memory) Watch(_ context.Context, cluster string) (Subscription, error) {
	w := &watcher{events: make(chan Event, watchBuffer)}
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
	c, err := m.cluster(cluster)
	if err != nil {
		return nil, err
	}
	if len(c.watchers) >= maxWatchersPerCluster {
		return nil, ErrTooManyWatchers
	}
	c.watchers[w] = struct{}{}
	return c.list(), nil
}

func (m *memory) unsubscribe(cluster string, w *watcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clusters[cluster]; c != nil { // nil if w lost an event and the rest expired
		delete(c.watchers, w)
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

// cluster returns a cluster, which it creates if need be. The caller drops it if it
// stays empty.
func (m *memory) cluster(id string) (*cluster, error) {
	c := m.clusters[id]
	if c == nil {
		if len(m.clusters) >= m.maxClusters {
			return nil, ErrTooManyClusters
		}
		c = newCluster(m.affiliates)
		m.clusters[id] = c
	}
	return c, nil
}

// dropEmpty removes a cluster if it is empty, and reports whether it was.
func (m *memory) dropEmpty(id string) bool {
	if !m.clusters[id].empty() {
		return false
	}
	delete(m.clusters, id)
	return true
}

func sorted(list []Affiliate) []Affiliate {
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}
