package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// conditionCache says that discovery does not answer, and nodes are taken from the cache.
const conditionCache mesh.ConditionType = "NodesFromCache"

const (
	// The cache is written once changes have settled, but not within keepInterval of the
	// last time. What changes without a registry, such as where peers are seen, is looked at
	// once an hour, and the times are refreshed once a day: flash wears out.
	keepInterval    = 5 * time.Minute
	keepLook        = time.Hour
	refreshInterval = 24 * time.Hour
	// forgetAfter is how long after it was last confirmed an affiliate of the cache is used.
	forgetAfter = 7 * 24 * time.Hour
	// cacheShown is how long discovery has to answer after the start until a condition tells
	// that it has not.
	cacheShown = 10 * time.Second
)

// Cache is what the loop needs to find its mesh again after a start without discovery.
type Cache interface {
	// Load returns what was kept of a cluster under one of its secrets, sorted by node id.
	Load(cluster string, secrets ...mesh.Secret) ([]discovery.Remembered, error)
	// Keep writes a list, if it or the secret differs from what is kept, or to refresh its
	// times.
	Keep(cluster string, secret mesh.Secret, list []discovery.Remembered, refresh bool) (written bool, err error)
	Drop() error
}

// remembering is the use of the cache.
type remembering struct {
	cluster string                 // whose entries were loaded
	entries []discovery.Remembered // that no registry has replaced
	source  discovery.Source       // made of them
	noted   []discovery.Source     // what registries had when the last change was noted
	changes settling
	looked  time.Time // when entries were last compared with the file
	written time.Time
}

// recall returns what the cache still has to say: of each node, until one of the
// registries that had it has answered, and for a week; nil: nothing.
func (a *Agent) recall(now time.Time) *discovery.Source {
	r := &a.remembering
	if a.cfg.Cache == nil {
		return nil
	}
	if r.cluster != a.config.ClusterID {
		a.loadCache()
	}
	if len(r.entries) == 0 {
		return nil
	}
	before := len(r.entries)
	doubtful := a.cfg.Clock.Doubtful(now)
	r.keepOnly(func(e *discovery.Remembered) bool {
		old := !doubtful && !e.Confirmed.IsZero() && now.Sub(e.Confirmed) >= forgetAfter
		return !old && !a.superseded(e)
	})
	if len(r.entries) != before || r.source.Kind == "" {
		r.source = discovery.Source{Kind: discovery.KindCache}
		for i := range r.entries {
			r.source.Affiliates = append(r.source.Affiliates, r.entries[i].Affiliate)
			r.source.Heard = append(r.source.Heard, discovery.Heard{Last: r.entries[i].Confirmed})
		}
	}
	if len(r.entries) == 0 {
		return nil
	}
	return &r.source
}

// keepOnly drops the other entries.
func (r *remembering) keepOnly(wanted func(*discovery.Remembered) bool) {
	n := 0
	for i := range r.entries {
		if wanted(&r.entries[i]) {
			r.entries[n] = r.entries[i]
			n++
		}
	}
	r.entries = r.entries[:n]
}

// superseded reports whether a registry that had the node has answered in this process, so
// that it knows better. If none of them is in use any more, any other one does.
func (a *Agent) superseded(e *discovery.Remembered) bool {
	known := false
	for name, r := range a.sources.running {
		if !published(r.kind) || r.former || !slices.Contains(e.Sources, (&discovery.Source{Kind: r.kind, Name: name}).String()) {
			continue
		}
		if known = true; r.answered {
			return true
		}
	}
	return !known && a.sources.answered
}

// loadCache reads the cache. Of what it holds, this node's memory knows who has left or is
// gone, and what is newer.
func (a *Agent) loadCache() {
	r := &a.remembering
	*r = remembering{cluster: a.config.ClusterID, noted: r.noted}
	list, err := a.cfg.Cache.Load(a.config.ClusterID, a.secrets()...)
	if err != nil {
		a.log.Warn("the cache of affiliates is not used", "error", err)
		return
	}
	pins := a.cfg.Memory.Pins(a.self.Subnet)
	known := make(map[string]*mesh.Pin, len(pins))
	for i := range pins {
		known[pins[i].NodeID] = &pins[i]
	}
	r.entries = list
	r.keepOnly(func(e *discovery.Remembered) bool {
		p := known[e.Affiliate.NodeID]
		return e.Affiliate.NodeID != a.self.NodeID && !a.config.Charter.Statement.Expels(e.Affiliate.NodeID) &&
			(p == nil || !p.Left && p.Gone.IsZero() && catchUp(&e.Affiliate, p))
	})
	if len(r.entries) > 0 {
		a.log.Debug("affiliates of the cache", "count", len(r.entries))
	}
}

// catchUp brings an affiliate of the cache up to its pin, which is written more often, and
// reports whether the affiliate can be used. Of a record that is older than the pin, only the
// networks count that the node still had.
func catchUp(a *mesh.Affiliate, p *mesh.Pin) bool {
	if p.Sequence <= a.Record.Sequence {
		return true
	}
	if !a.Record.Signed() || p.PublicKey.IsZero() {
		return false
	}
	a.PublicKey, a.Address = p.PublicKey, p.Address
	a.AdditionalAddresses = slices.DeleteFunc(a.AdditionalAddresses, func(n netip.Prefix) bool { return !slices.ContainsFunc(p.Networks, n.Overlaps) })
	a.Record.Sequence, a.Record.Instance, a.Record.Start, a.Record.NextKey = p.Sequence, p.Instance, p.Start, p.NextKey
	return true
}

// secrets returns the secrets that the cache may be sealed with, the one to seal with first.
func (a *Agent) secrets() []mesh.Secret {
	if next := a.config.Charter.Next; !next.IsZero() {
		return []mesh.Secret{next, a.config.ClusterSecret}
	}
	return []mesh.Secret{a.config.ClusterSecret}
}

// remember writes the cache if that is due.
func (a *Agent) remember(affiliates []mesh.Affiliate, now time.Time) {
	r := &a.remembering
	if a.cfg.Cache == nil || !a.sources.answered {
		return
	}
	if !sameSources(r.noted, a.sources.found) {
		r.noted = a.sources.found
		r.changes.note(now)
	}
	first, since := r.looked.IsZero(), now.Sub(r.looked)
	if r.changes.settled(now) && (first || since >= keepInterval) || !first && since >= keepLook {
		a.keep(affiliates, a.previous.Statuses, now)
	}
}

// keep writes the cache, unless the file has the same.
func (a *Agent) keep(affiliates []mesh.Affiliate, statuses []mesh.PeerStatus, now time.Time) {
	r := &a.remembering
	if r.written.IsZero() {
		r.written = now // the first refresh is a day after the start
	}
	written, err := a.cfg.Cache.Keep(a.config.ClusterID, a.secrets()[0], a.toRemember(affiliates, statuses, now), now.Sub(r.written) >= refreshInterval)
	r.looked, r.changes = now, settling{err: err}
	if written {
		r.written = now
	}
}

// toRemember returns what is worth to be kept: what registries have that other nodes publish
// to, and what the cache had before and they could not confirm yet.
func (a *Agent) toRemember(affiliates []mesh.Affiliate, statuses []mesh.PeerStatus, now time.Time) []discovery.Remembered {
	worked := make(map[mesh.Key]netip.AddrPort, len(statuses))
	for i := range statuses {
		if s := &statuses[i]; s.State == mesh.PeerStateUp && s.Endpoint.IsValid() && s.Relay == "" {
			worked[s.PublicKey] = s.Endpoint
		}
	}
	seen := now
	if a.cfg.Clock.Doubtful(now) {
		seen = time.Time{}
	}
	list := make([]discovery.Remembered, len(affiliates))
	n := 0
	for i := range affiliates {
		x := &affiliates[i]
		if x.Static || x.Record.Left || x.NodeID == a.self.NodeID || a.config.Own && !x.Record.Signed() {
			continue
		}
		e := &list[n]
		n++
		e.Affiliate = *x
		a.confirm(e, seen)
		if at, ok := worked[x.PublicKey]; ok {
			e.Affiliate.Endpoints = first(at, x.Endpoints)
		}
	}
	return list[:n]
}

// confirm notes which registries have a node now, and when the most believed one last said so.
func (a *Agent) confirm(e *discovery.Remembered, now time.Time) {
	for _, s := range discovery.OriginOf(a.sources.found, &e.Affiliate).Sources {
		switch s.Source {
		case string(discovery.KindStatic):
		case string(discovery.KindCache): // the last
			if len(e.Sources) == 0 {
				e.Sources, e.Confirmed = a.remembered(e.Affiliate.NodeID)
			}
		default:
			if e.Sources = append(e.Sources, s.Source); len(e.Sources) == 1 {
				if e.Confirmed = s.Last; s.Last.IsZero() {
					e.Confirmed = now
				}
			}
		}
	}
}

// remembered returns what the cache says of who had a node, and when.
func (a *Agent) remembered(nodeID string) ([]string, time.Time) {
	for i := range a.remembering.entries {
		if e := &a.remembering.entries[i]; e.Affiliate.NodeID == nodeID {
			return e.Sources, e.Confirmed
		}
	}
	return nil, time.Time{}
}

// first returns a list that begins with ep.
func first(ep netip.AddrPort, list []netip.AddrPort) []netip.AddrPort {
	out := append(make([]netip.AddrPort, 0, len(list)+1), ep)
	for _, e := range list {
		if e != ep {
			out = append(out, e)
		}
	}
	return out
}

// cacheConditions says that nodes are taken from the cache, and that it can't be written.
func (a *Agent) cacheConditions(plan *mesh.Plan, now time.Time) (out []mesh.Condition) {
	r := &a.remembering
	if r.changes.err != nil {
		out = append(out, mesh.Condition{Type: conditionMemory, Subject: state.CacheFile, Message: r.changes.err.Error()})
	}
	if len(r.entries) == 0 {
		return out
	}
	if shown := a.started.Add(cacheShown); now.Before(shown) {
		plan.WakeAt(shown)
		return out
	}
	var silent []string
	for _, reg := range a.registries() {
		if published(reg.kind) && !reg.answered {
			text := reg.name
			if err := reg.shown().LastError; err != nil {
				text += " (" + err.Error() + ")"
			}
			silent = append(silent, text)
		}
	}
	last := "at an unknown time"
	if at := r.lastConfirmed(); !at.IsZero() {
		last = at.Format(time.RFC3339)
	}
	return append(out, mesh.Condition{Type: conditionCache, Subject: "discovery", Message: fmt.Sprintf(
		"nodes that are taken from this node's cache: %d, last confirmed %s; no answer since the start from %s", len(r.entries), last, strings.Join(silent, ", "))})
}

func (r *remembering) lastConfirmed() (last time.Time) {
	for i := range r.entries {
		if at := r.entries[i].Confirmed; at.After(last) {
			last = at
		}
	}
	return last
}

// flushCache writes at the end of Run what has changed.
func (a *Agent) flushCache(now time.Time) {
	if a.cfg.Cache == nil || !a.sources.answered || a.left {
		return
	}
	affiliates := a.discovered(now)
	a.keep(affiliates, a.previous.Statuses, now)
	a.warnUnwritten(state.CacheFile, a.remembering.changes.err)
}
