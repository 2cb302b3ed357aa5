package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"time"
)

// snapshot returns all affiliates and endpoints that live for another second, the
// precision of the file.
func (m *memory) snapshot(now time.Time) []clusterSnapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]clusterSnapshot, 0, len(m.clusters))
	for id, c := range m.clusters {
		cs := clusterSnapshot{id: id}
		for id, a := range c.affiliates {
			if a.expiry.Sub(now) >= time.Second {
				cs.affiliates = append(cs.affiliates, a.snapshot(id, now))
			}
		}
		if len(cs.affiliates) > 0 {
			out = append(out, cs)
		}
	}
	return out
}

func (a *affiliate) snapshot(id string, now time.Time) affiliateSnapshot {
	out := affiliateSnapshot{id: id, data: a.data, ttl: a.expiry.Sub(now)}
	for _, e := range a.endpoints {
		if left := e.expiry.Sub(now); left >= time.Second {
			out.endpoints = append(out.endpoints, endpointSnapshot{e.data, left})
		}
	}
	return out
}

// restore fills an empty store with the contents of a snapshot, up to the store's
// limits. It restores the clusters that are served.
func (m *memory) restore(clusters []clusterSnapshot, only *only, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, cs := range clusters {
		if !only.serves(cs.id) {
			continue
		}
		c, err := m.cluster(cs.id, netip.Prefix{})
		if err != nil {
			return
		}
		for _, as := range cs.affiliates {
			if as.ttl > 0 && c.affiliates[as.id] == nil {
				_ = c.add(as.id, as.restore(now)) // as long as there is room
			}
		}
		m.dropEmpty(cs.id)
	}
}

func (as affiliateSnapshot) restore(now time.Time) *affiliate {
	a := &affiliate{data: as.data, expiry: now.Add(as.ttl)}
	for _, e := range as.endpoints {
		if e.ttl > 0 { // addEndpoints drops duplicates and keeps the limit
			_, _ = a.addEndpoints([][]byte{e.data}, now.Add(e.ttl))
		}
	}
	a.expiry = now.Add(as.ttl)
	return a
}

// load restores the snapshot file into the memory store. A missing file is not an
// error. A broken file is renamed to PATH.broken for inspection, and the server
// starts empty: members announce themselves again within half a TTL.
func (s *Server) load(now time.Time) error {
	if s.cfg.SnapshotPath == "" {
		return nil
	}
	begin := time.Now()
	b, err := readBounded(s.cfg.SnapshotPath, maxSnapshotSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.log.Info("no discovery snapshot yet, starting empty", "path", s.cfg.SnapshotPath)
		return nil
	case err != nil:
		s.metrics.storage("load", false)
		return fmt.Errorf("reading discovery snapshot: %w", err)
	}
	clusters, err := parseSnapshot(b, now)
	if err != nil {
		s.metrics.storage("load", false)
		aside := s.cfg.SnapshotPath + ".broken"
		s.log.Warn("discovery snapshot is broken, starting empty", "path", s.cfg.SnapshotPath, "error", err)
		if err := os.Rename(s.cfg.SnapshotPath, aside); err != nil { // the next one replaces it
			s.log.Warn("renaming the broken discovery snapshot", "to", aside, "error", err)
		}
		return nil
	}
	s.memory.restore(clusters, &s.only, now)
	n := s.memory.counts()
	s.metrics.storage("load", true)
	s.metrics.lastStorage("load", n, len(b), time.Since(begin))
	s.log.Info("discovery snapshot loaded", "clusters", n.clusters, "affiliates", n.affiliates)
	return nil
}

// keep saves the snapshot. Without it, members announce themselves again after a restart.
func (s *Server) keep() {
	if err := s.save(time.Now()); err != nil {
		s.log.Warn("discovery snapshot not saved", "error", err)
	}
}

// save writes the snapshot file, also if there are no affiliates: with the previous
// file a restart would bring back members that have left.
func (s *Server) save(now time.Time) error {
	if s.cfg.SnapshotPath == "" {
		return nil
	}
	begin, size := time.Now(), 0
	clusters := s.memory.snapshot(now)
	err := writeFile(s.cfg.SnapshotPath, func(w io.Writer) (err error) {
		size, err = writeSnapshot(w, clusters)
		return err
	})
	s.metrics.storage("save", err == nil)
	if err != nil {
		return fmt.Errorf("saving discovery snapshot: %w", err)
	}
	n := counts{clusters: len(clusters)}
	for _, c := range clusters {
		n.affiliates += len(c.affiliates)
		for _, a := range c.affiliates {
			n.endpoints += len(a.endpoints)
		}
	}
	s.metrics.lastStorage("save", n, size, time.Since(begin))
	return nil
}
