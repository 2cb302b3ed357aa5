package nodetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/discovery"
)

// HubDelay is how long a change takes from one node over the hub to the others.
const HubDelay = 50 * time.Millisecond

var errAway = errors.New("the hub is away")

// Hub is a discovery service. As real ones do, it holds what members seal, drops what
// they do not refresh, and tells each member its public address. Members reach it
// whatever becomes of UDP.
type Hub struct {
	mu      sync.Mutex
	away    bool
	entries map[string]*hubEntry // by affiliate id
	clients []*client            // that run
	updates int
}

// hubEntry is an affiliate.
type hubEntry struct {
	data      []byte
	until     time.Time
	endpoints []hubEndpoint
}

type hubEndpoint struct {
	sealed []byte
	until  time.Time
}

func newHub() *Hub { return &Hub{entries: map[string]*hubEntry{}} }

// SetAway takes the hub away from its members, or gives it back with all that it
// knew.
func (h *Hub) SetAway(away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = away
	for _, c := range h.clients {
		c.wake.Notify()
	}
}

// Updates returns how many updates members have sent.
func (h *Hub) Updates() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.updates
}

// update stores affiliate data (empty: none) and endpoints, and wakes all members if
// anything is new, also the one that it is from.
func (h *Hub) update(id string, data []byte, endpoints [][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.updates++
	until := time.Now().Add(discovery.MaxTTL)
	e := h.entries[id]
	fresh := e == nil
	if fresh {
		e = &hubEntry{}
		h.entries[id] = e
	}
	e.until = until
	if len(data) > 0 {
		fresh = fresh || !slices.Equal(e.data, data)
		e.data = data
	}
	for _, sealed := range endpoints {
		i := slices.IndexFunc(e.endpoints, func(p hubEndpoint) bool { return slices.Equal(p.sealed, sealed) })
		if i < 0 {
			fresh = true
			e.endpoints = append(e.endpoints, hubEndpoint{sealed, until})
		} else {
			e.endpoints[i].until = until
		}
	}
	if fresh {
		h.notify()
	}
}

// Entry returns the sealed data of a member; nil if the hub has none.
func (h *Hub) Entry(id string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.entries[id]; e != nil {
		return e.data
	}
	return nil
}

// Forge replaces a member's entry, as anyone can who knows the cluster, and the service
// itself. Without data the entry is deleted.
func (h *Hub) Forge(id string, data []byte, endpoints ...[]byte) {
	h.mu.Lock()
	delete(h.entries, id)
	h.notify()
	h.mu.Unlock()
	if len(data) > 0 {
		h.update(id, data, endpoints)
	}
}

// notify wakes all members. The caller holds mu.
func (h *Hub) notify() {
	for _, c := range h.clients {
		time.AfterFunc(HubDelay, c.wake.Notify)
	}
}

// list returns what has not expired, and when the next of it will.
func (h *Hub) list() (list []discovery.RawAffiliate, next time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		return nil, time.Time{}, errAway
	}
	now := time.Now()
	for id, e := range h.entries {
		if !now.Before(e.until) {
			delete(h.entries, id)
			continue
		}
		e.endpoints = slices.DeleteFunc(e.endpoints, func(p hubEndpoint) bool { return !now.Before(p.until) })
		raw := discovery.RawAffiliate{ID: id, Data: e.data}
		next = sooner(next, e.until)
		for _, p := range e.endpoints {
			raw.Endpoints = append(raw.Endpoints, p.sealed)
			next = sooner(next, p.until)
		}
		list = append(list, raw)
	}
	return list, next, nil
}

// sooner returns the earlier of two times, of which the first may be zero for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func (h *Hub) join(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients = append(h.clients, c)
}

func (h *Hub) part(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients = slices.DeleteFunc(h.clients, func(o *client) bool { return o == c })
}

// leave stores a member's last record, and wakes the others.
func (h *Hub) leave(c *client, data []byte) error {
	h.mu.Lock()
	away := h.away
	h.mu.Unlock()
	if away {
		return errAway
	}
	h.update(c.id, data, nil)
	return nil
}

// remove drops a member's affiliate, and wakes the others.
func (h *Hub) remove(c *client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		return errAway
	}
	delete(h.entries, c.id)
	h.notify()
	return nil
}
