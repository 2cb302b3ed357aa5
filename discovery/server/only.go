package server

import (
	"crypto/subtle"
	"errors"
	"slices"
	"sync/atomic"
)

// maxOnly is how many clusters a server for some clusters has room for: the founder of a
// mesh serves two while the mesh changes its secret, and with that its discovery name.
const maxOnly = 2

// only are the clusters that are served, if not all are.
type only struct{ ids atomic.Pointer[[]string] }

func (o *only) set(ids ...string) {
	ids = slices.Clone(ids)
	o.ids.Store(&ids)
}

// serves reports whether a cluster is served. How long that takes does not say how much of
// an id is right.
func (o *only) serves(id string) bool {
	ids := o.ids.Load()
	if ids == nil {
		return true
	}
	found := 0
	for _, served := range *ids {
		found |= subtle.ConstantTimeCompare([]byte(id), []byte(served))
	}
	return found == 1
}

// ServeOnly changes Config.OnlyCluster to one or two clusters. The entries of other
// clusters are removed, and who watches them is disconnected.
func (s *Server) ServeOnly(clusters ...string) error {
	if s.cfg.OnlyCluster == "" || s.memory == nil || len(clusters) < 1 || len(clusters) > maxOnly {
		return errors.New("discovery server: only a server for one cluster, with the memory store, can change to another")
	}
	for _, id := range clusters {
		if err := validateClusterID(id); err != nil {
			return err
		}
	}
	s.only.set(clusters...)
	s.memory.retain(&s.only)
	return nil
}

// retain removes the clusters that are not served.
func (m *memory) retain(served *only) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, c := range m.clusters {
		if served.serves(id) {
			continue
		}
		for a := range c.affiliates {
			c.remove(a)
		}
		for w := range c.watchers {
			close(w.events)
			c.unsubscribe(w)
		}
		m.dropEmpty(id)
	}
}
