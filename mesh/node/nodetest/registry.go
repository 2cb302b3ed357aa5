package nodetest

import (
	"context"
	"crypto/rand"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/state"
)

var _ agent.Registry = (*client)(nil)

// client is a member's registry at the hub.
type client struct {
	hub     *Hub
	host    *Host
	id      string
	key     mesh.NodeKey
	cluster codec.Cluster
	changed mesh.Signal
	wake    mesh.Signal

	// Owned by Run.
	table     *discovery.Table
	known     []string // ids in the last list
	connected bool
	sealed    mesh.Affiliate // what data holds
	data      []byte
	sent      *discovery.Local // nil: nothing, or long ago
	others    []mesh.Endpoint  // that were sent with it

	mu    sync.Mutex // guards what follows
	local *discovery.Local
	snap  discovery.Snapshot
}

func (h *Hub) client(host *Host, e *agent.Effective, keys state.Keys) *client {
	cluster := codec.Cluster{ID: e.ClusterID, Secret: e.ClusterSecret}
	open := func(raw discovery.RawAffiliate, known discovery.Known) discovery.Opened {
		opened := codec.OpenRaw(cluster, raw, known)
		if host.skips {
			opened.Affiliate.Record.NextKey = mesh.Key{}
		}
		return opened
	}
	return &client{
		hub: h, host: host, id: keys.NodeID, key: keys.NodeKey, cluster: cluster, changed: mesh.NewSignal(), wake: mesh.NewSignal(),
		table: discovery.NewTable(keys.NodeID, open, discovery.MaxTTL),
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

// Moved does nothing: there is no connection that could break.
func (c *client) Moved() {}

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
	c.table.Advance(now)
	if at := c.table.Next(); !at.IsZero() {
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
	if local == nil || local == c.sent || local.Affiliate.NodeID == "" {
		return nil
	}
	own := local.Affiliate
	if c.data == nil || !reflect.DeepEqual(own, c.sealed) {
		data, err := c.seal(own)
		if err != nil {
			return err
		}
		c.data, c.sealed = data, own
	}
	var endpoints [][]byte
	for _, e := range local.Affiliate.Endpoints {
		sealed, err := codec.SealEndpoint(c.cluster.Secret, e)
		if err != nil {
			return err
		}
		endpoints = append(endpoints, sealed)
	}
	c.hub.update(c.id, c.data, endpoints)
	for _, o := range local.Others {
		if c.sent != nil && slices.Contains(c.others, o) {
			continue
		}
		sealed, err := codec.SealEndpoint(c.cluster.Secret, o.Endpoint)
		if err != nil {
			return err
		}
		c.hub.update(o.AffiliateID, nil, [][]byte{sealed})
	}
	c.sent, c.others = local, local.Others
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
		c.table.Update(list, now)
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
		c.snap.Heard = c.table.Heard(c.snap.Affiliates)
		_, c.snap.Self = c.table.Own()
	}
	if fresh || old.Connected != c.snap.Connected || old.PublicAddr != public || old.Published != c.snap.Published {
		c.changed.Notify()
	}
}

// seal signs and seals this member's affiliate.
func (c *client) seal(a mesh.Affiliate) ([]byte, error) {
	var nonce [codec.NonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	data, _, err := codec.SealAffiliate(c.cluster, c.key, a, nonce)
	return data, err
}

// Delete removes this member at once, or leaves its last record.
func (c *client) Delete(_ context.Context, last mesh.Affiliate) error {
	if !last.Record.Signed() {
		return c.hub.remove(c)
	}
	data, err := c.seal(last)
	if err != nil {
		return err
	}
	return c.hub.leave(c, data)
}
