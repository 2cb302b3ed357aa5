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
	pass     uint64          // the last update in which it was
}

// Metadata identifies a resource. The fields and their order are those of Talos.
type Metadata struct {
	Namespace string    `json:"namespace"`
	Type      string    `json:"type"` // "KubeSpanPeerSpecs.kubespan.talos.dev"
	ID        string    `json:"id"`
	Version   int       `json:"version"`
	Owner     string    `json:"owner"` // always this agent
	Phase     string    `json:"phase"` // always running: nothing is torn down in steps
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`
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
	byType  map[string]map[string]*Resource
	pass    uint64        // counts updates
	scratch bytes.Buffer  // for encode
	changed chan struct{} // closed and replaced at every change
}

// NewResources returns an empty store.
func NewResources() *Resources {
	return &Resources{byType: map[string]map[string]*Resource{}, changed: make(chan struct{})}
}

// entry is what a resource should be.
type entry struct {
	id       string
	spec     any
	revealed any // spec with secrets; nil if it has none
}

// update makes the resources of one type be exactly entries. It runs at each
// look of the agent, mostly with nothing new, and leaves little garbage then.
func (r *Resources) update(typ ResourceType, entries []entry, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	resources := r.byType[typ.Name]
	if resources == nil {
		resources = make(map[string]*Resource, len(entries))
		r.byType[typ.Name] = resources
	}
	r.pass++
	changed := false
	for _, e := range entries {
		res, known := resources[e.id]
		if !known {
			res = &Resource{}
			resources[e.id] = res
		}
		spec := r.encode(&res.Spec, e.spec)
		revealed := r.encode(&res.revealed, e.revealed)
		switch {
		case !known:
			res.Metadata = Metadata{
				Namespace: typ.Namespace, Type: typ.Name, ID: e.id, Version: 1, Owner: "wirespan", Phase: "running", Created: now, Updated: now,
			}
			changed = true
		case spec || revealed:
			res.Metadata.Version++
			res.Metadata.Updated = now
			changed = true
		}
		res.pass = r.pass
	}
	for id, res := range resources {
		if res.pass != r.pass {
			delete(resources, id)
			changed = true
		}
	}
	if changed {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// List returns the resources of a type sorted by id, and a channel that is
// closed at the next change of any resource. An empty id means all.
func (r *Resources) List(typ, id string, secrets bool) ([]Resource, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []Resource{}
	for _, res := range r.byType[typ] {
		if id != "" && res.Metadata.ID != id {
			continue
		}
		out = append(out, *res)
		if secrets && res.revealed != nil {
			out[len(out)-1].Spec = res.revealed
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Metadata.ID < out[j].Metadata.ID })
	return out, r.changed
}

// Diff returns the events that lead from one listing to the next; both sorted by id.
func Diff(old, next []Resource) []Event {
	var events []Event
	note := func(typ EventType, res *Resource) { events = append(events, Event{typ, *res}) }
	was := make(map[string]*Metadata, len(old))
	for i := range old {
		was[old[i].Metadata.ID] = &old[i].Metadata
	}
	for i := range next {
		now := &next[i].Metadata
		before := was[now.ID]
		delete(was, now.ID)
		switch {
		case before == nil:
			note(EventCreated, &next[i])
		case before.Version != now.Version || !before.Created.Equal(now.Created):
			note(EventUpdated, &next[i])
		}
	}
	for i := range old {
		if was[old[i].Metadata.ID] != nil {
			note(EventDeleted, &old[i])
		}
	}
	return events
}

// encode makes text be v, nil if v is, and says whether it was not before. It
// cannot fail: specs are our own types without cycles or channels.
func (r *Resources) encode(text *json.RawMessage, v any) bool {
	if v == nil {
		had := *text != nil
		*text = nil
		return had
	}
	r.scratch.Reset()
	if err := json.NewEncoder(&r.scratch).Encode(v); err != nil {
		panic(err)
	}
	b := bytes.TrimSuffix(r.scratch.Bytes(), []byte{'\n'})
	if bytes.Equal(*text, b) {
		return false
	}
	*text = bytes.Clone(b) // readers may hold the old one
	return true
}
