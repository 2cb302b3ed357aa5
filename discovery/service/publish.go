package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/discovery/rpc"
	"github.com/wirespan/wirespan/mesh"
)

// updateTimeout limits one update. It is long because a server delays the requests of
// clients that share an address.
const updateTimeout = 30 * time.Second

// publisher sends the data of Publish, over one connection after another. The sealed data
// outlives a connection; the record of what was sent does not.
type publisher struct {
	c    *Client
	rpc  cluster
	good bool // the server answered, or there was nothing to publish

	sealed mesh.Affiliate // the content of blob; unsigned, without endpoints
	blob   []byte
	cut    string // what blob lacks, for want of room

	sentBlob   bool
	sentOwn    []netip.AddrPort
	sentOthers map[string][]netip.AddrPort // by affiliate id

	problems map[string][]discovery.Problem // of the last try, by affiliate id
}

func (p *publisher) run(ctx context.Context, server cluster) error {
	p.rpc = server
	p.forget()
	p.c.published(nil)
	select {
	case <-p.c.wake: // everything is sent now anyway
	default:
	}
	refresh := time.NewTicker(p.c.cfg.TTL / 2)
	defer refresh.Stop()
	var wait, quarrel backoff
	var restore <-chan time.Time // when to publish again what was replaced at the server
	for {
		retry, err := p.publish(ctx)
		if err != nil {
			return err
		}
		p.good = true
		var again <-chan time.Time
		if retry {
			again = time.After(wait.next())
		} else {
			wait = backoff{}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.c.wake:
		case <-again:
		case <-p.c.strange:
			// The entry may be an earlier one of this node, whose successor is on its way.
			// And another writer could go on for ever: so it waits, longer each time.
			if restore == nil {
				restore = time.After(quarrel.next())
			}
		case <-restore:
			restore = nil
			if p.c.replaced() {
				p.forget()
			}
		case <-refresh.C:
			quarrel = backoff{}
			p.forget()
		}
	}
}

// forget makes the next publish send everything.
func (p *publisher) forget() {
	p.sentBlob, p.sentOwn, p.sentOthers = false, nil, map[string][]netip.AddrPort{}
	p.problems = map[string][]discovery.Problem{}
}

// publish sends what the server does not have yet. It returns an error if the connection
// cannot be used any more, and retry if the server refused this node's data.
func (p *publisher) publish(ctx context.Context) (retry bool, err error) {
	p.c.mu.Lock()
	local := p.c.local
	p.c.mu.Unlock()
	if local == nil || local.Affiliate.NodeID == "" {
		return false, nil
	}
	accepted, err := p.publishOwn(ctx, &local.Affiliate)
	if err != nil {
		return false, err
	}
	if accepted {
		p.c.update(func(s *discovery.Snapshot) { s.Published = p.c.local == local })
	}
	if err := p.publishOthers(ctx, local.Others); err != nil {
		return false, err
	}
	var problems []discovery.Problem
	for _, id := range slices.Sorted(maps.Keys(p.problems)) {
		problems = append(problems, p.problems[id]...)
	}
	p.c.report(&p.c.refused, problems)
	return !accepted, nil
}

// publishOwn sends this node's data, or as much of it as is new. Data that is too large
// is not sent: the last one that was not stays published, with its networks.
func (p *publisher) publishOwn(ctx context.Context, a *mesh.Affiliate) (accepted bool, err error) {
	id := p.c.cfg.AffiliateID
	endpoints := a.Endpoints[:min(len(a.Endpoints), discovery.MaxEndpoints)]
	unsealed := p.sealOwn(*a)
	if p.blob == nil || p.sentBlob && len(missing(endpoints, p.sentOwn)) == 0 {
		if unsealed != nil {
			p.problems[id] = []discovery.Problem{{AffiliateID: id, Reason: unsealed.Error()}}
		}
		return unsealed == nil, nil
	}
	u := update{affiliateID: id, endpoints: p.seal(id, endpoints)}
	if !p.sentBlob {
		u.data = p.blob
	}
	accepted, err = p.send(ctx, u)
	if accepted {
		p.sentBlob, p.sentOwn = true, endpoints
		p.c.published(p.blob)
	}
	switch {
	case unsealed != nil:
		p.problem(id, unsealed.Error())
	case p.cut != "":
		p.problem(id, "this node announces so much that these had to be left out: "+p.cut)
	}
	return accepted && unsealed == nil, err
}

// sealOwn makes blob of a, unless it is of it already.
func (p *publisher) sealOwn(a mesh.Affiliate) error {
	if !a.Record.Signed() {
		a.Endpoints = nil
	}
	if p.blob != nil && reflect.DeepEqual(&a, &p.sealed) {
		return nil
	}
	blob, cut, err := p.c.seal(a)
	if err != nil {
		return err
	}
	p.sealed, p.blob, p.cut, p.sentBlob = a, blob, cut, false
	return nil
}

// seal signs and seals this node's affiliate.
func (c *Client) seal(a mesh.Affiliate) (blob []byte, cut string, err error) {
	var nonce [codec.NonceSize]byte
	_, _ = rand.Read(nonce[:]) // does not fail
	return codec.SealAffiliate(codec.Cluster{ID: c.cfg.ClusterID, Secret: c.cfg.Secret}, c.cfg.NodeKey, a, nonce)
}

// published records what the server has of this node.
func (c *Client) published(blob []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = blob
}

// observeOwn compares the server's entry for this node with what was published.
func (c *Client) observeOwn(entry discovery.RawAffiliate) {
	c.mu.Lock()
	c.own, c.echoes = entry.Data, c.echoes || entry.ID != ""
	c.mu.Unlock()
	if c.replaced() {
		c.strange.Notify()
	}
}

// replaced reports whether the server has another entry for this node than the published
// one: another writer, with or without the cluster's secret, has replaced or deleted it.
func (c *Client) replaced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.echoes && c.sent != nil && !bytes.Equal(c.own, c.sent)
}

// publishOthers sends the endpoints at which this node reaches other members. A refused
// update is not sent again before the next refresh: other members do not depend on it.
func (p *publisher) publishOthers(ctx context.Context, others []mesh.Endpoint) error {
	byID := map[string][]netip.AddrPort{}
	for _, o := range others {
		if o.AffiliateID != p.c.cfg.AffiliateID && discovery.CheckID(o.AffiliateID) == nil {
			byID[o.AffiliateID] = append(byID[o.AffiliateID], o.Endpoint)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		fresh := missing(byID[id], p.sentOthers[id])
		fresh = fresh[:min(len(fresh), discovery.MaxEndpoints)]
		if len(fresh) == 0 {
			continue
		}
		if _, err := p.send(ctx, update{affiliateID: id, endpoints: p.seal(id, fresh)}); err != nil {
			return err
		}
		p.sentOthers[id] = append(p.sentOthers[id], fresh...)
	}
	return nil
}

// seal seals the endpoints for an update of affiliate id and resets its problems. An
// invalid endpoint is left out and becomes a problem.
func (p *publisher) seal(id string, endpoints []netip.AddrPort) [][]byte {
	delete(p.problems, id)
	var out [][]byte
	for _, e := range endpoints {
		b, err := codec.SealEndpoint(p.c.cfg.Secret, e)
		if err != nil {
			p.problem(id, err.Error())
			continue
		}
		out = append(out, b)
	}
	return out
}

func (p *publisher) send(ctx context.Context, u update) (accepted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	u.clusterID, u.ttl = p.c.cfg.DiscoveryID, p.c.cfg.TTL
	err = p.rpc.update(ctx, u)
	if err == nil {
		return true, nil
	}
	var refused *rpc.Error
	if !errors.As(err, &refused) || refused.Code == rpc.Unavailable || refused.Code == rpc.DeadlineExceeded || refused.Code == rpc.Canceled {
		return false, rpcError("update", err)
	}
	p.problem(u.affiliateID, "the server refuses the update: "+clean(refused.Message))
	return false, nil
}

func (p *publisher) problem(id, reason string) {
	p.problems[id] = append(p.problems[id], discovery.Problem{AffiliateID: id, Reason: reason})
}

// missing returns the elements of want that are not in have.
func missing(want, have []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(want), func(e netip.AddrPort) bool { return slices.Contains(have, e) })
}
