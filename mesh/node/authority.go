//go:build !edge

package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/state"
)

var errNotAuthority = errors.New("only the founder of a mesh decides who its members are, and this node is not the founder: run this command there")

// authority returns who decides for the control socket.
func (n *Node) authority() control.Authority { return n }

// Expel ends the membership of nodes, each given by node id or nodename, and changes the
// secret of the mesh. The other nodes drop them as soon as they hear of it.
func (n *Node) Expel(ctx context.Context, nodes []string) error {
	if !n.founder() {
		return errNotAuthority
	}
	var expelled []mesh.NodeDigest
	for _, node := range nodes {
		id, err := n.agent.FindNode(ctx, node)
		if err != nil {
			return err
		}
		if id == n.keys.NodeID {
			return fmt.Errorf("%s is this node, the founder, which can't expel itself", node)
		}
		d, err := mesh.DigestNodeID(id)
		if err != nil {
			return fmt.Errorf("expelling %s: %w", node, err)
		}
		expelled = append(expelled, d)
	}
	defer n.offer() // the last token may have ended
	return n.changeSecret(ctx, expelled)
}

// RotateSecret changes the secret of the mesh, and ends all join tokens.
func (n *Node) RotateSecret(ctx context.Context) error {
	if !n.founder() {
		return errNotAuthority
	}
	if err := n.tokens.enrolments.EndTokens(); err != nil {
		return err
	}
	defer n.offer()
	return n.changeSecret(ctx, nil)
}

// changeSecret begins a change of the secret. If one is under way, expelled nodes are
// dropped at once, and another change follows.
func (n *Node) changeSecret(ctx context.Context, expelled []mesh.NodeDigest) error {
	err := n.decree(func(c *state.Cluster, s *mesh.Statement) error {
		switch {
		case !c.Next.IsZero():
			c.Again = true
		case c.Again: // some were expelled during the last change
			begin(c, s, time.Now())
		default:
			s.Expelled = nil
			begin(c, s, time.Now())
		}
		for _, d := range expelled {
			if !slices.Contains(s.Expelled, d) {
				s.Expelled = append(s.Expelled, d)
			}
		}
		s.Accepted = slices.DeleteFunc(slices.Clone(s.Accepted), func(a mesh.Acceptance) bool { return slices.Contains(expelled, a.Node) })
		if len(s.Expelled) > mesh.MaxExpelled {
			return fmt.Errorf("expelling more than %d nodes with one change of the secret: expel the others when it is done", mesh.MaxExpelled)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return n.announce(ctx)
}

// begin begins a change. Numbers follow the clock, so that a founder that was restored
// from a backup does not use one again.
func begin(c *state.Cluster, s *mesh.Statement, now time.Time) {
	c.Next, c.NextNumber, c.Again = state.NewSecret(), max(c.SecretNumber+1, uint64(max(now.Unix(), 0))), false
	s.SecretNumber, s.SecretHash, s.Closed = c.NextNumber, mesh.HashSecret(c.ID, c.Next), false
}

// decree makes the authority's next statement. It counts from the moment in which
// cluster.yaml holds it. What follows is up to lead, also after a crash.
func (n *Node) decree(change func(*state.Cluster, *mesh.Statement) error) error {
	n.membership.deciding.Lock()
	defer n.membership.deciding.Unlock()
	return n.decreeAlone(change)
}

// decreeAlone is decree for a caller that holds deciding.
func (n *Node) decreeAlone(change func(*state.Cluster, *mesh.Statement) error) error {
	err := n.alter(func(c *state.Cluster) error {
		key, err := state.LoadAuthorityKey(n.state, c.Authority)
		if err != nil {
			return err
		}
		s := statementOf(c)
		s.Closed = s.Closed || s.Number == 0
		s.Number = max(s.Number+1, uint64(max(time.Now().UnixMilli(), 0)))
		s.Successor = mesh.Authority{}
		if err := change(c, &s); err != nil {
			return err
		}
		c.Statement = key.Sign(c.ID, s)
		if s.Successor != (mesh.Authority{}) {
			if c.First == (mesh.Authority{}) {
				c.First = c.Authority
			}
			c.Authority, c.Successions = s.Successor, append(slices.Clip(c.Successions), c.Statement)
		}
		return nil
	})
	if err == nil {
		n.membership.wake.Notify()
	}
	return err
}

// announce brings the parts of a founder in line with the cluster, and shows the newest
// statement to the members. It does not end with the caller who has asked for that.
func (n *Node) announce(ctx context.Context) error {
	if err := n.serveMembers(); err != nil {
		return err
	}
	return n.refresh(context.WithoutCancel(ctx))
}

// serveMembers makes the discovery server serve the mesh by the names of its secrets, and
// the expelled nodes be known as such.
func (n *Node) serveMembers() error {
	c := n.membership.present()
	if err := n.server.server.ServeOnly(discoveryIDs(c)...); err != nil {
		return err
	}
	return n.tokens.enrolments.Expel(statementOf(c).Expelled)
}

// discoveryIDs returns the discovery names of the mesh: that of its secret, and that of
// the next one.
func discoveryIDs(c *state.Cluster) []string {
	ids := []string{mesh.DiscoveryID(c.ID, c.Secret)}
	if !c.Next.IsZero() {
		ids = append(ids, mesh.DiscoveryID(c.ID, c.Next))
	}
	return ids
}

// lead does what the founder's statements and its changes of the secret need, and returns
// when to look again. All of it can be done twice.
func (n *Node) lead(ctx context.Context, now time.Time) time.Duration {
	wait, err := n.leadOn(ctx, now)
	if err != nil && ctx.Err() == nil {
		n.log.Error("leading the mesh", "error", err)
		return closeCheck
	}
	return wait
}

func (n *Node) leadOn(ctx context.Context, now time.Time) (time.Duration, error) {
	m := &n.membership
	c := m.present()
	if number := statementOf(c).Number; number != m.announced {
		if err := n.announce(ctx); err != nil {
			return 0, err
		}
		m.announced = number
	}
	switch {
	case !c.Next.IsZero():
		return closeCheck, n.endChange(ctx, c, now)
	case now.Sub(m.closed) < closeCheck: // the members leave the former name before the server does
		return closeCheck, nil
	case c.Again:
		return closeCheck, n.changeSecret(ctx, nil)
	}
	return time.Hour, n.serveMembers()
}

// endChange ends a change of the secret if it is time: by the time that has passed since
// this process saw it first, whatever happens to the clock.
func (n *Node) endChange(ctx context.Context, c *state.Cluster, now time.Time) error {
	m := &n.membership
	if m.changing != c.NextNumber {
		m.changing, m.since = c.NextNumber, now
	}
	m.mu.Lock()
	view := m.view
	m.mu.Unlock()
	age := now.Sub(m.since)
	if view.SecretNumber != c.NextNumber || age < closeAfter || len(view.Waiting) > 0 && age < closeLimit {
		return nil
	}
	err := n.decree(func(c *state.Cluster, s *mesh.Statement) error {
		c.Close()
		s.Closed = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("ending the change of the secret: %w", err)
	}
	n.log.Info("the mesh has changed its secret", "secret", c.NextNumber, "without", view.Waiting)
	m.closed, m.announced = now, statementOf(m.present()).Number
	return n.refresh(ctx)
}

// accepting makes the acceptance of a node by a founder one that all members follow. The
// agent's loop calls it.
func (n *Node) accepting(a mesh.Affiliate) error {
	if !n.founder() {
		return nil
	}
	acceptance, err := mesh.NewAcceptance(a.NodeID, a.Nodename)
	if err != nil {
		return err
	}
	return n.decree(func(_ *state.Cluster, s *mesh.Statement) error {
		s.Accept(acceptance)
		return nil
	})
}

// ReplaceAuthority makes another key the mesh's authority, and ends all join tokens.
func (n *Node) ReplaceAuthority(ctx context.Context) error {
	if !n.founder() {
		return errNotAuthority
	}
	next, err := n.succeed()
	if err != nil {
		return err
	}
	n.tokens.replaceAuthority(next)
	if err := n.tokens.enrolments.EndTokens(); err != nil {
		return err
	}
	n.offer()
	return n.announce(ctx)
}

// succeed makes the next authority. Its key is stored before the statement that names it.
func (n *Node) succeed() (mesh.Authority, error) {
	n.membership.deciding.Lock()
	defer n.membership.deciding.Unlock()
	c := n.membership.present()
	if len(c.Successions) >= mesh.MaxSuccessions {
		return mesh.Authority{}, fmt.Errorf("the authority of a mesh can be replaced %d times: found a new mesh", mesh.MaxSuccessions)
	}
	key, err := state.PrepareAuthorityKey(n.state, c.Authority)
	if err != nil {
		return mesh.Authority{}, err
	}
	err = n.decreeAlone(func(_ *state.Cluster, s *mesh.Statement) error {
		s.Successor = key.Authority()
		return nil
	})
	if err != nil {
		return mesh.Authority{}, err
	}
	_, err = state.LoadAuthorityKey(n.state, key.Authority()) // it takes the former one's place
	return key.Authority(), err
}

// AuthorityKey returns the file with the authority's key of the mesh that this node has
// founded. An agent may be running.
func AuthorityKey(c Config) ([]byte, error) {
	n, err := locate(c)
	if err != nil {
		return nil, err
	}
	present, err := state.LoadCluster(n.state)
	if err != nil {
		return nil, err
	}
	if present == nil || !present.Founder || !n.config.Standalone() {
		return nil, errNotAuthority
	}
	key, err := state.ReadAuthorityKey(n.state, present.Authority)
	if err != nil {
		return nil, err
	}
	return mesh.EncodeAuthorityKey(key), nil
}
