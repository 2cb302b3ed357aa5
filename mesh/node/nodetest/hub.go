package nodetest

import (
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

var _ agent.Registry = (*client)(nil)

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

// update stores affiliate data (empty: none) and endpoints, and wakes the other
// members if anything is new.
func (h *Hub) update(from *client, id string, data []byte, endpoints [][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
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
		h.notify(from)
	}
}

// notify wakes all members but one. The caller holds mu.
func (h *Hub) notify(but *client) {
	for _, c := range h.clients {
		if c != but {
			time.AfterFunc(HubDelay, c.wake.Notify)
		}
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

// client is a member's registry at the hub.
type client struct {
	hub     *Hub
	host    *Host
	id      string
	secret  mesh.Secret
	changed mesh.Signal
	wake    mesh.Signal

	// Owned by Run.
	table     *discovery.Table
	known     []string // ids in the last list
	connected bool
	sealed    mesh.Affiliate // what data holds
	data      []byte
	sent      *discovery.Local // nil: nothing, or long ago

	mu    sync.Mutex // guards what follows
	local *discovery.Local
	snap  discovery.Snapshot
}

func (h *Hub) client(host *Host, e *agent.Effective, nodeID string) *client {
	return &client{
		hub: h, host: host, id: nodeID, secret: e.ClusterSecret, changed: mesh.NewSignal(), wake: mesh.NewSignal(),
		table: discovery.NewTable(nodeID, e.ClusterSecret, discovery.MaxTTL),
	}
}

func (c *client) Publish(l discovery.Local) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local == nil || !reflect.DeepEqual(*c.local, l) {
		c.local = &l
		c.wake.Notify()
	}
}

func (c *client) Changed() <-chan struct{} { return c.changed }

func (c *client) Snapshot() discovery.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snap
}

// Run publishes and reads until ctx is done.
func (c *client) Run(ctx context.Context) error {
	c.hub.join(c)
	defer c.hub.part(c)
	refresh := time.NewTicker(discovery.MaxTTL / 2)
	defer refresh.Stop()
	for {
		next, err := c.exchange()
		if err != nil {
			return err
		}
		var expiry <-chan time.Time
		if !next.IsZero() {
			expiry = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-expiry:
		case <-refresh.C:
			c.sent = nil
		}
	}
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

// exchange publishes what the hub lacks, and reads what it has. It returns when to do
// so again at the latest; zero: never.
func (c *client) exchange() (next time.Time, err error) {
	now := time.Now()
	list, next, away := c.hub.list()
	if away == nil {
		if err := c.publish(); err != nil {
			return time.Time{}, err
		}
		c.take(list, now)
	} else {
		c.connected, c.sent = false, nil
	}
	c.table.Expire(now)
	if at := c.table.NextExpiry(); !at.IsZero() {
		next = sooner(next, at)
	}
	c.show(away)
	return next, nil
}

// publish sends what the hub lacks.
func (c *client) publish() error {
	c.mu.Lock()
	local := c.local
	c.mu.Unlock()
	if local == nil || local == c.sent {
		return nil
	}
	own := local.Affiliate
	own.Endpoints = nil
	if c.data == nil || !reflect.DeepEqual(own, c.sealed) {
		var nonce [discovery.NonceSize]byte
		_, _ = rand.Read(nonce[:]) // never fails
		data, err := discovery.SealAffiliate(c.secret, own, nonce)
		if err != nil {
			return err
		}
		c.data, c.sealed = data, own
	}
	var endpoints [][]byte
	for _, e := range local.Affiliate.Endpoints {
		sealed, err := discovery.SealEndpoint(c.secret, e)
		if err != nil {
			return err
		}
		endpoints = append(endpoints, sealed)
	}
	c.hub.update(c, c.id, c.data, endpoints)
	for _, o := range local.Others {
		sealed, err := discovery.SealEndpoint(c.secret, o.Endpoint)
		if err != nil {
			return err
		}
		c.hub.update(c, o.AffiliateID, nil, [][]byte{sealed})
	}
	c.sent = local
	return nil
}

// take takes a list. What it misses has left or expired if the client was connected
// all the time; else it is kept for a while, as the rules of the table are.
func (c *client) take(list []discovery.RawAffiliate, now time.Time) {
	known := make([]string, len(list))
	for i := range list {
		known[i] = list[i].ID
	}
	if c.connected {
		for _, id := range c.known {
			if !slices.Contains(known, id) {
				c.table.Remove(id)
			}
		}
		c.table.Update(list)
	} else {
		c.table.Replace(list, now)
	}
	c.known, c.connected = known, true
}

// show makes the snapshot show what the table holds.
func (c *client) show(away error) {
	public := c.host.Public()
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.snap
	c.snap.Connected, c.snap.LastError, c.snap.Server = away == nil, away, "hub"
	c.snap.PublicAddr = public
	c.snap.Published = c.sent != nil && c.sent == c.local
	if c.snap.Connected != old.Connected {
		c.snap.Since = time.Now()
	}
	fresh := c.table.Changed()
	if fresh {
		c.snap.Affiliates, c.snap.Problems = c.table.Result()
	}
	if fresh || old.Connected != c.snap.Connected || old.PublicAddr != public || old.Published != c.snap.Published {
		c.changed.Notify()
	}
}

// Delete removes this member at once.
func (c *client) Delete(context.Context) error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.hub.away {
		return errAway
	}
	delete(c.hub.entries, c.id)
	c.hub.notify(c)
	return nil
}
