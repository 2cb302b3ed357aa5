package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

var errNotAuthority = errors.New("only the founder of a mesh decides who its members are, and this node is not the founder: run this command there")

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
	return n.changeSecret(ctx, expelled)
}

// RotateSecret changes the secret of the mesh.
func (n *Node) RotateSecret(ctx context.Context) error {
	if !n.founder() {
		return errNotAuthority
	}
	return n.changeSecret(ctx, nil)
}

// changeSecret begins a change of the secret. If one is under way, expelled nodes are
// dropped at once, and another change follows.
func (n *Node) changeSecret(ctx context.Context, expelled []mesh.NodeDigest) error {
	err := n.decree(func(c *state.Cluster, s *mesh.Statement) error {
		if c.Next.IsZero() {
			if !c.Again { // else they were expelled during the last change
				s.Expelled = nil
			}
			begin(c, s, time.Now())
		} else {
			c.Again = true
		}
		for _, d := range expelled {
			if !slices.Contains(s.Expelled, d) {
				s.Expelled = append(s.Expelled, d)
			}
		}
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

// begin begins a change.
func begin(c *state.Cluster, s *mesh.Statement, now time.Time) {
	c.Next, c.NextNumber, c.Since, c.Again = state.NewSecret(), c.SecretNumber+1, now.UTC().Truncate(time.Second), false
	s.SecretNumber, s.SecretHash, s.Closed = c.NextNumber, mesh.HashSecret(c.ID, c.Next), false
}

// decree makes the authority's next statement. It counts from the moment in which
// cluster.yaml holds it: what follows is done again after a crash.
func (n *Node) decree(change func(*state.Cluster, *mesh.Statement) error) error {
	key, err := state.LoadAuthorityKey(n.state, n.membership.present().Authority)
	if err != nil {
		return err
	}
	return n.alter(func(c *state.Cluster) error {
		s := mesh.Statement{Closed: true}
		if len(c.Statement) > 0 {
			if s, err = mesh.ParseStatement(c.Statement); err != nil {
				return err
			}
		}
		s.Number++
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
}

// announce brings the parts of a founder in line with the cluster, and shows the newest
// statement to the members.
func (n *Node) announce(ctx context.Context) error {
	if err := n.serveMembers(); err != nil {
		return err
	}
	return n.refresh(ctx)
}

// serveMembers makes the discovery server serve the mesh by the names of its secrets, and
// the expelled nodes be known as such.
func (n *Node) serveMembers() error {
	c := n.membership.present()
	if err := n.server.server.ServeOnly(discoveryIDs(c)...); err != nil {
		return err
	}
	s, _ := mesh.ParseStatement(c.Statement) // the zero statement expels nobody
	return n.tokens.enrolments.Expel(s.Expelled)
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

// lead ends a change of the secret when it is time, and returns when to look again.
func (n *Node) lead(ctx context.Context, now time.Time) time.Duration {
	c := n.membership.present()
	if c.Next.IsZero() {
		return n.rest(ctx, c)
	}
	n.membership.mu.Lock()
	view := n.membership.view
	n.membership.mu.Unlock()
	age := now.Sub(c.Since) // negative: the clock was set back
	done := view.SecretNumber == c.NextNumber && len(view.Waiting) == 0 && age >= closeAfter
	if !done && age >= 0 && age < closeLimit {
		return closeCheck
	}
	err := n.decree(func(c *state.Cluster, s *mesh.Statement) error {
		c.Close()
		s.Closed = true
		return nil
	})
	if err == nil {
		n.log.Info("the mesh has changed its secret", "secret", c.NextNumber, "without", view.Waiting)
		err = n.refresh(ctx) // the members leave the former name before the server does
	}
	if err != nil && ctx.Err() == nil {
		n.log.Error("ending the change of the secret", "error", err)
	}
	return closeCheck
}

// rest is what is to do after a change: to serve the mesh by its new name only, and to
// begin the next change if there is to be one.
func (n *Node) rest(ctx context.Context, c *state.Cluster) time.Duration {
	err := n.serveMembers()
	if err == nil && c.Again {
		if err = n.changeSecret(ctx, nil); err == nil {
			return closeCheck
		}
	}
	if err != nil && ctx.Err() == nil {
		n.log.Error("after the change of the secret", "error", err)
		return closeCheck
	}
	return time.Hour
}

// accepted makes an acceptance that all members follow.
func (n *Node) accepted(ctx context.Context, a mesh.Affiliate) error {
	acceptance, err := mesh.NewAcceptance(a.NodeID, a.Nodename)
	if err != nil {
		return err
	}
	err = n.decree(func(_ *state.Cluster, s *mesh.Statement) error {
		s.Accept(acceptance)
		return nil
	})
	if err != nil {
		return err
	}
	return n.announce(ctx)
}

// ReplaceAuthority makes another key the mesh's authority.
func (n *Node) ReplaceAuthority(ctx context.Context) error {
	if !n.founder() {
		return errNotAuthority
	}
	if len(n.membership.present().Successions) >= mesh.MaxSuccessions {
		return fmt.Errorf("the authority of a mesh can be replaced %d times: found a new mesh", mesh.MaxSuccessions)
	}
	next, err := state.PrepareAuthorityKey(n.state, n.membership.present().Authority)
	if err != nil {
		return err
	}
	err = n.decree(func(_ *state.Cluster, s *mesh.Statement) error {
		s.Successor = next.Authority()
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := state.LoadAuthorityKey(n.state, next.Authority()); err != nil { // it takes the former one's place
		return err
	}
	n.tokens.replaceAuthority(next.Authority())
	n.offer()
	return n.announce(ctx)
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
	data, err := n.state.Read(mesh.AuthorityKeyFile)
	if err != nil {
		return nil, fmt.Errorf("authority key: %w", err)
	}
	return data, nil
}
