package kubernetes

import (
	"context"
	"encoding/base64"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/wirespan/wirespan/mesh"
)

// Delete removes this node's annotations. If last is signed, it takes their place, and says
// to others that the node has left. Stop Run first to leave for good.
func (c *Client) Delete(ctx context.Context, last mesh.Affiliate) error {
	if c.cfg.ReadOnly {
		return nil
	}
	c.mu.Lock()
	c.local, c.snap.Published = nil, false
	c.mu.Unlock()
	a, err := c.load()
	if err != nil {
		return fmt.Errorf("delete own annotations: %w", err)
	}
	client, closeIdle, err := newREST(a, c.conns, c.userAgent())
	if err != nil {
		return fmt.Errorf("delete own annotations: %w", err)
	}
	defer closeIdle()
	if err := c.remove(silent(ctx), client, last); err != nil {
		return fmt.Errorf("delete own annotations: %w", err)
	}
	return nil
}

func (c *Client) remove(ctx context.Context, client *rest.RESTClient, last mesh.Affiliate) error {
	want := map[string]string{}
	for _, key := range keys() {
		want[key] = ""
	}
	if last.Record.Signed() {
		blob, _, err := c.seal(last)
		if err != nil {
			return err
		}
		want[nodeIDKey], want[Affiliate] = last.NodeID, base64.StdEncoding.EncodeToString(blob)
	}
	var err error
	for range maxConflicts {
		var own *node
		if own, err = c.get(ctx, client); apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
		patch := difference(own, want)
		if patch == nil {
			return nil
		}
		if _, err = c.patch(ctx, client, patch); err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) {
			break
		}
	}
	return c.explain("patch", err)
}
