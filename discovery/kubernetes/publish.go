package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

const (
	writeInterval  = 5 * time.Second // between two writes to the own Node
	requestTimeout = 20 * time.Second
	maxConflicts   = 5 // in a row: the kubelet writes to the Node, too
)

// publisher writes the data of Publish to the own Node, in one session after another.
type publisher struct {
	c      *Client
	client *rest.RESTClient
	last   outcome // of the last request

	affiliate mesh.Affiliate // what blob was made of
	blob      []byte
	cut       string // what blob lacks, for want of room

	wrote   time.Time      // the last write
	content mesh.Affiliate // what was written then
	wait    backoff        // after errors
	quarrel backoff        // after another program has changed what was written
	restore time.Time      // when to write again what another program has changed; zero: it has not
	calm    time.Time      // when a quarrel is forgotten
}

// run publishes until ctx is done.
func (p *publisher) run(ctx context.Context, client *rest.RESTClient) error {
	p.client = client
	for {
		var again <-chan time.Time
		if delay := p.publish(ctx, time.Now()); delay > 0 {
			again = time.After(delay)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.c.wake:
		case <-again:
		}
	}
}

// publish writes what the Node does not have. It returns when to try again; 0: not before
// something changes.
func (p *publisher) publish(ctx context.Context, now time.Time) (again time.Duration) {
	p.c.mu.Lock()
	local, own := p.c.local, p.c.own
	p.c.mu.Unlock()
	if local == nil || local.Affiliate.NodeID == "" {
		return 0
	}
	p.last = outcome{}
	unsealed := p.seal(local.Affiliate)
	var written bool
	var delay time.Duration
	var err error
	if p.blob != nil {
		written, delay, err = p.write(context.WithValue(ctx, outcomeKey{}, &p.last), own, now)
	}
	if ctx.Err() != nil {
		return 0
	}
	p.report(local, written && unsealed == nil, unsealed, err)
	if err != nil {
		return max(p.wait.next(), p.last.retryAfter)
	}
	p.wait = backoff{}
	return delay
}

// report shows what has become of the data.
func (p *publisher) report(local *discovery.Local, written bool, unsealed, err error) {
	var problems []discovery.Problem
	problem := func(text string) {
		problems = append(problems, discovery.Problem{AffiliateID: p.c.cfg.AffiliateID, Reason: text})
	}
	switch {
	case unsealed != nil:
		problem(unsealed.Error())
	case p.cut != "":
		problem("this node announces so much that these had to be left out: " + p.cut)
	}
	if err != nil {
		problem(err.Error())
	}
	p.c.mu.Lock()
	first := p.c.writing == nil
	p.c.writing = err
	published := written && p.c.local == local
	same := p.c.snap.Published == published
	p.c.snap.Published = published
	p.c.mu.Unlock()
	if !same {
		p.c.changed.Notify()
	}
	if err != nil && first {
		p.c.log.Warn("can't publish this node at Kubernetes, retrying", "error", err)
	}
	p.c.report(&p.c.refused, problems)
}

// seal makes blob of an affiliate, unless it is of it already.
func (p *publisher) seal(a mesh.Affiliate) error {
	if p.blob != nil && reflect.DeepEqual(a, p.affiliate) {
		return nil
	}
	blob, cut, err := p.c.seal(a)
	if err != nil {
		return err
	}
	p.affiliate, p.blob, p.cut = a, blob, cut
	return nil
}

func (c *Client) seal(a mesh.Affiliate) (blob []byte, cut string, err error) {
	var nonce [codec.NonceSize]byte
	_, _ = rand.Read(nonce[:]) // does not fail
	return codec.SealAffiliate(c.cluster(), c.cfg.NodeKey, a, nonce)
}

// write brings the Node up to date. Written reports whether it is; if not, delay says when to
// try again.
func (p *publisher) write(ctx context.Context, own *node, now time.Time) (written bool, delay time.Duration, err error) {
	for range maxConflicts {
		if own == nil {
			if own, err = p.c.get(ctx, p.client); err != nil {
				return false, 0, err
			}
			p.c.setOwn(own)
		}
		patch := difference(own, p.c.annotations(p.affiliate, p.blob, own))
		if patch == nil {
			p.restore = time.Time{}
			return true, 0, nil
		}
		if delay := p.mayWrite(now).Sub(now); delay > 0 {
			return false, delay, nil
		}
		n, err := p.c.patch(ctx, p.client, patch)
		if apierrors.IsConflict(err) {
			own = nil
			continue
		}
		if err != nil {
			return false, 0, p.c.explain("patch", err)
		}
		p.wrote, p.content, p.restore = now, p.affiliate, time.Time{}
		p.c.setOwn(n)
		return true, 0, nil
	}
	return false, 0, p.c.explain("patch", fmt.Errorf("others have changed the Node %d times in a row", maxConflicts))
}

// mayWrite returns from when on a write is allowed. If the Node does not have what was
// written before, another program has changed it. It could go on for ever: so that waits
// longer each time.
func (p *publisher) mayWrite(now time.Time) time.Time {
	earliest := p.wrote.Add(writeInterval)
	if p.wrote.IsZero() || !reflect.DeepEqual(p.content, p.affiliate) {
		return earliest
	}
	if p.restore.IsZero() {
		if now.After(p.calm) {
			p.quarrel = backoff{}
		}
		p.restore = now.Add(p.quarrel.next())
		p.calm = p.restore.Add(discovery.MaxTTL / 2)
	}
	if p.restore.After(earliest) {
		return p.restore
	}
	return earliest
}

// annotations returns what the own Node should have; an annotation with an empty value is to
// be removed. The sealed data stays as it is if its content does: it has a random part.
func (c *Client) annotations(a mesh.Affiliate, blob []byte, own *node) map[string]string {
	out := plain(a)
	if !c.cfg.Talos {
		for key := range out {
			if key != nodeIDKey {
				out[key] = ""
			}
		}
	}
	out[Affiliate] = base64.StdEncoding.EncodeToString(blob)
	if had := own.Annotations[Affiliate]; c.sameContent(had, blob) {
		out[Affiliate] = had
	}
	return out
}

// sameContent reports whether an annotation holds the same affiliate as blob.
func (c *Client) sameContent(had string, blob []byte) bool {
	data, err := base64.StdEncoding.DecodeString(had)
	if err != nil || len(data) == 0 {
		return false
	}
	a, _, err := codec.OpenAffiliate(c.cluster(), data, discovery.Known{})
	if err != nil {
		return false
	}
	b, _, err := codec.OpenAffiliate(c.cluster(), blob, discovery.Known{})
	return err == nil && reflect.DeepEqual(a, b)
}

// difference returns the JSON merge patch (RFC 7396) that gives a Node the wanted
// annotations, or nil if it has them.
func difference(own *node, want map[string]string) []byte {
	changes := map[string]*string{}
	for key, value := range want {
		had, ok := own.Annotations[key]
		switch {
		case value == "" && ok:
			changes[key] = nil
		case value != "" && value != had:
			changes[key] = &value
		}
	}
	if len(changes) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": own.ResourceVersion, "annotations": changes,
	}})
	if err != nil { // it has strings only
		panic(err)
	}
	return patch
}

// get returns the own Node.
func (c *Client) get(ctx context.Context, client *rest.RESTClient) (*node, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	n := &node{}
	err := client.Get().Resource("nodes").Name(c.cfg.Node).MaxRetries(0).WarningHandler(rest.NoWarnings{}).Do(ctx).Into(n)
	if err == nil {
		err = c.checkOwn(n)
	}
	if err != nil {
		return nil, c.explain("get", err)
	}
	return n, nil
}

// patch patches the own Node and returns what it is then. The error is that of the API.
func (c *Client) patch(ctx context.Context, client *rest.RESTClient, patch []byte) (*node, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	n := &node{}
	err := client.Patch(types.MergePatchType).Resource("nodes").Name(c.cfg.Node).Body(patch).
		MaxRetries(0).WarningHandler(rest.NoWarnings{}).Do(ctx).Into(n)
	if err == nil {
		err = c.checkOwn(n)
	}
	return n, err
}

// checkOwn returns an error unless an answer is the own Node.
func (c *Client) checkOwn(n *node) error {
	if n.Name != c.cfg.Node {
		return fmt.Errorf("the answer is of the Node %q", n.Name)
	}
	return nil
}
