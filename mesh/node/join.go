package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery"
	client "github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// Between attempts to reach the founder.
const (
	firstRetry = time.Second
	maxRetry   = 30 * time.Second
)

// joinToken returns the token to join by: that of the caller or the stored one; nil if
// there is none.
func (n *Node) joinToken() (*config.Token, error) {
	if n.cfg.Token != nil || !n.config.Standalone() {
		return n.cfg.Token, nil
	}
	return storedToken(n.state)
}

// enter sets the node's cluster, unless the configuration names one: that of the token,
// of the state directory or, if there is none, a new one.
func (n *Node) enter(ctx context.Context) error {
	token, err := n.joinToken()
	if err != nil {
		return err
	}
	if !n.config.Standalone() {
		if token != nil {
			return ErrTwoClusters
		}
		return nil
	}
	if n.keys.NodeKey.IsZero() {
		return fmt.Errorf("node id %s is in the form of Talos and has no key to sign with, but nodes of a mesh without Talos take only what is signed: remove %s to become a new node", n.keys.NodeID, mesh.NodeIdentityFile)
	}
	if token != nil {
		if err := n.joinBy(ctx, *token); err != nil || n.cfg.Token != nil {
			return err
		}
		if err := n.state.Remove(storedTokenFile); err != nil {
			n.log.Warn("the stored join token stays, and is used again at the next start", "error", err)
		}
		return nil
	}
	c, err := state.LoadCluster(n.state)
	if n.membership.enterCluster(c); err != nil || c != nil {
		return err
	}
	c, err = found(n.state)
	n.membership.enterCluster(c)
	return err
}

// joinBy sets the node's cluster to that of a token.
func (n *Node) joinBy(ctx context.Context, t config.Token) error {
	c, err := n.join(ctx, t)
	n.membership.enterCluster(c)
	return err
}

// ErrTwoClusters reports a join token for a configuration that already names a cluster.
var ErrTwoClusters = errors.New("join token: the configuration already names a cluster (remove the token, or the identity from the configuration)")

func (n *Node) founder() bool {
	c := n.membership.present()
	return c != nil && c.Founder
}

// join enters the cluster of a token. A node that is in it already needs no one's help:
// from the token that it joined by it takes the founder's addresses, which may have
// changed. With another one it asks the founder once, and goes on all the same.
func (n *Node) join(ctx context.Context, t config.Token) (*state.Cluster, error) {
	old, err := state.CheckJoin(n.state, t)
	if err != nil {
		return nil, err
	}
	member := old != nil && (old.Authority == t.Authority || old.Pin == t.Pin && (old.Founder || old.Token == t.ID))
	known := member && old.Token == t.ID
	switch {
	case member && old.Founder, known && old.Pin == t.Pin && slices.Equal(old.Servers, t.Servers):
		return old, nil
	case known:
		old.Servers, old.Pin = t.Servers, t.Pin
		if err := state.SaveCluster(n.state, old); err != nil {
			n.log.Warn("storing the founder's addresses of the join token", "error", err)
		}
		return old, nil
	}
	m, err := n.ask(ctx, t, member)
	if err != nil && member && ctx.Err() == nil {
		n.log.Warn("the new join token is not used, this node goes on as the member that it is", "error", err)
		return old, nil
	}
	if err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	c, err := state.JoinCluster(n.state, t, m)
	if err == nil {
		n.log.Info("joined a mesh", "cluster", mesh.ShortClusterID(c.ID))
	}
	return c, err
}

// ask asks the founder for membership until it answers or ctx is done, or just once.
func (n *Node) ask(ctx context.Context, t config.Token, once bool) (mesh.Membership, error) {
	e := mesh.NewEnrolment(t.ID, t.Key, n.keys.NodeKey, t.Pin)
	c := client.EnrolConfig{Servers: t.Servers, Pin: t.Pin, Control: bind.Control(n.config.Firewall.EncryptedMark)}
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		answer, err := client.Enrol(ctx, c, e.Encode())
		switch {
		case err == nil:
			return mesh.ParseMembership(answer)
		case ctx.Err() != nil:
			return mesh.Membership{}, ctx.Err()
		case once || errors.Is(err, discovery.ErrRefused):
			return mesh.Membership{}, err
		}
		about := []any{"retryIn", wait.String(), "error", err}
		if now := time.Now(); now.After(t.Expires) {
			about = append(about, "tokenExpired", t.Expires.String(), "clock", now.UTC().Format(time.DateTime))
		}
		n.log.Warn("waiting for the founder's discovery server, to join its mesh", about...)
		select {
		case <-ctx.Done():
			return mesh.Membership{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}
