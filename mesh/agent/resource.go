package agent

import (
	"bytes"
	"encoding/json"
	"sort"
	"sync"
	"time"
)

// Resource is one observable thing, in KubeSpan's terms. Its version grows by
// one whenever its spec changes.
type Resource struct {
	Metadata Metadata        `json:"metadata"`
	Spec     json.RawMessage `json:"spec"`

	revealed json.RawMessage // Spec with its secrets; nil if it has none
}

// Metadata identifies a resource.
type Metadata struct {
	Type    string    `json:"type"` // "KubeSpanPeerSpecs.kubespan.talos.dev"
	ID      string    `json:"id"`
	Version int       `json:"version"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// Event is one change of a resource, as a watch delivers it.
type Event struct {
	Type     EventType `json:"event"`
	Resource Resource  `json:"resource"`
}

// EventType says what happened to a resource.
type EventType string

// Event types.
const (
	EventCreated EventType = "created"
	EventUpdated EventType = "updated"
	EventDeleted EventType = "deleted"
)

// Resources is the store behind `wirespan get`. The loop updates it, any
// number of readers list and watch it.
type Resources struct {
	mu      sync.Mutex
	byType  map[string]map[string]Resource
	changed chan struct{} // closed and replaced at every change
}

// NewResources returns an empty store.
func NewResources() *Resources {
	return &Resources{byType: map[string]map[string]Resource{}, changed: make(chan struct{})}
}

// entry is what a resource should be.
type entry struct {
	id       string
	spec     any
	revealed any // spec with secrets; nil if it has none
}

// update makes the resources of one type be exactly entries.
func (r *Resources) update(typ string, entries []entry, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byType[typ]
	next := make(map[string]Resource, len(entries))
	changed := len(old) != len(entries)
	for _, e := range entries {
		res := Resource{
			Metadata: Metadata{Type: typ, ID: e.id, Version: 1, Created: now, Updated: now},
			Spec:     encode(e.spec),
		}
		if e.revealed != nil {
			res.revealed = encode(e.revealed)
		}
		if was, ok := old[e.id]; ok {
			res.Metadata = was.Metadata
			if !bytes.Equal(was.Spec, res.Spec) || !bytes.Equal(was.revealed, res.revealed) {
				res.Metadata.Version++
				res.Metadata.Updated = now
				changed = true
			}
		} else {
			changed = true
		}
		next[e.id] = res
	}
	if !changed {
		return
	}
	r.byType[typ] = next
	close(r.changed)
	r.changed = make(chan struct{})
}

// List returns the resources of a type sorted by id, and a channel that is
// closed at the next change of any resource. An empty id means all.
func (r *Resources) List(typ, id string, secrets bool) ([]Resource, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Resource
	for _, res := range r.byType[typ] {
		if id != "" && res.Metadata.ID != id {
			continue
		}
		if secrets && res.revealed != nil {
			res.Spec = res.revealed
		}
		out = append(out, res)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Metadata.ID < out[j].Metadata.ID })
	return out, r.changed
}

// diff returns the events that lead from one listing to the next; both sorted by id.
func diff(old, next []Resource) []Event {
	var events []Event
	was := make(map[string]Resource, len(old))
	for _, res := range old {
		was[res.Metadata.ID] = res
	}
	for _, res := range next {
		before, ok := was[res.Metadata.ID]
		delete(was, res.Metadata.ID)
		switch {
		case !ok:
			events = append(events, Event{EventCreated, res})
		case before.Metadata.Version != res.Metadata.Version || !before.Metadata.Created.Equal(res.Metadata.Created):
			events = append(events, Event{EventUpdated, res})
		}
	}
	for _, res := range old {
		if _, gone := was[res.Metadata.ID]; gone {
			events = append(events, Event{EventDeleted, res})
		}
	}
	return events
}

// encode cannot fail: specs are our own types without cycles or channels.
func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
