package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery"
	client "github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// Times of a change of the secret.
const (
	// The founder ends a change when all peers that are up have the new secret, but not
	// before closeAfter: a peer may be between two sessions. It ends it at closeLimit in
	// any case: who was not there asks for the secret later.
	closeAfter = 20 * time.Second
	closeLimit = 10 * time.Minute
	closeCheck = 5 * time.Second
	// askInterval is the wait after a failed attempt to get the secret; it doubles.
	askInterval    = 2 * time.Second
	maxAskInterval = 5 * time.Minute
	// meshDialTimeout is how long the founder may take to answer through the mesh.
	meshDialTimeout = 3 * time.Second
)

const conditionMembership mesh.ConditionType = "MembershipUnclear"

// membership is what a node of an own mesh knows of it. The agent's loop, the discovery
// server, the control socket and the membership's own loop use it.
type membership struct {
	wake mesh.Signal

	mu      sync.Mutex
	cluster *state.Cluster // never modified, but replaced; nil: the configuration names the cluster
	view    agent.MeshView // of the loop's last pass
	problem string         // why this node does not get the secret; empty: there is none

	deciding sync.Mutex // held by a decision of the authority

	// Owned by the membership's loop.
	failures  int
	askAt     time.Time
	announced uint64    // the number of the statement that this process has announced
	changing  uint64    // the number of the secret that a founder's mesh changes to
	since     time.Time // when this process first saw that
	closed    time.Time // when it ended the last change; zero: it has ended none
}

// present returns the cluster as it is now.
func (m *membership) present() *state.Cluster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cluster
}

// enterCluster sets the cluster at the start.
func (m *membership) enterCluster(c *state.Cluster) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cluster = c
}

// alter changes the cluster, once the change is stored.
func (n *Node) alter(change func(*state.Cluster) error) error {
	m := &n.membership
	m.mu.Lock()
	defer m.mu.Unlock()
	next := *m.cluster
	if err := change(&next); err != nil {
		return err
	}
	if reflect.DeepEqual(next, *m.cluster) {
		return nil
	}
	if err := state.SaveCluster(n.state, &next); err != nil {
		return err
	}
	m.cluster = &next
	return nil
}

// viewed takes what a pass of the agent's loop has seen.
func (m *membership) viewed(v agent.MeshView) {
	m.mu.Lock()
	changed := !reflect.DeepEqual(m.view, v)
	m.view = v
	m.mu.Unlock()
	if changed {
		m.wake.Notify()
	}
}

// charter returns what the agent needs to know.
func (m *membership) charter(c *state.Cluster) (mesh.Charter, []mesh.Condition) {
	_, number := c.Newest()
	out := mesh.Charter{Authority: c.Authority, Founder: c.FounderID, SecretNumber: number, Next: c.Next}
	if out.Statement = statementOf(c); c.Founder || !out.Statement.Closed {
		out.Repeated = string(c.Statement)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.problem == "" {
		return out, nil
	}
	return out, []mesh.Condition{{Type: conditionMembership, Subject: "secret", Message: m.problem}}
}

// followMesh does what the mesh's authority says, until ctx is done.
func (n *Node) followMesh(ctx context.Context) {
	for {
		wait := n.follow(ctx, time.Now())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-n.membership.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// follow takes the next steps, and returns the time until there may be another one.
func (n *Node) follow(ctx context.Context, now time.Time) (wait time.Duration) {
	if n.founder() {
		return n.lead(ctx, now)
	}
	m := &n.membership
	m.mu.Lock()
	view := m.view
	m.mu.Unlock()
	if err := n.heed(ctx, view.Statement); err != nil {
		n.log.Warn("a statement of the mesh's authority", "error", err)
	}
	c := m.present()
	statement := statementOf(c)
	_, number := c.Newest()
	if statement.SecretNumber <= number && !view.Refused && !view.Unknown || statement.Expels(n.keys.NodeID) {
		m.failures = 0
		n.report(ctx, "")
		return time.Hour
	}
	if wait := m.askAt.Sub(now); wait > 0 && m.failures > 0 {
		return wait
	}
	return n.askAgain(ctx, now)
}

// heed takes a newer statement, as the authority has signed it.
func (n *Node) heed(ctx context.Context, signed string) error {
	if signed == "" {
		return nil
	}
	before := n.membership.present()
	err := n.alter(func(c *state.Cluster) error {
		s, err := mesh.OpenStatement(c.Authority, c.ID, []byte(signed))
		if err != nil {
			return err
		}
		if s.Number > statementOf(c).Number {
			take(c, s, []byte(signed))
		}
		return nil
	})
	if err != nil || n.membership.present() == before {
		return err
	}
	n.membership.failures = 0
	n.log.Info("the mesh's authority has made a statement", "number", statementOf(n.membership.present()).Number)
	return n.refresh(ctx)
}

// take makes s the newest statement of a member. What is said of a later secret than the
// next one means that the change to that is over.
func take(c *state.Cluster, s mesh.Statement, signed []byte) {
	c.Statement = signed
	if s.Successor != (mesh.Authority{}) {
		c.Authority = s.Successor
	}
	if !c.Next.IsZero() && (s.SecretNumber > c.NextNumber || s.Closed && s.SecretNumber == c.NextNumber) {
		c.Close()
	}
}

// askAgain asks the founder for the secret, and returns when to ask next.
func (n *Node) askAgain(ctx context.Context, now time.Time) time.Duration {
	m := &n.membership
	before := m.present()
	answer, err := n.askFounder(ctx)
	if err == nil {
		err = n.admitted(answer)
	}
	if err == nil && m.present() == before {
		err = errors.New("a discovery server refuses the mesh by the name of this secret, but the founder has no newer one")
	}
	if ctx.Err() != nil {
		return time.Hour
	}
	if err == nil {
		m.failures = 0
		n.log.Info("this node has the mesh's newest secret", "secret", answer.SecretNumber)
		n.report(ctx, "")
		if err := n.refresh(ctx); err != nil {
			n.log.Warn("using the new secret", "error", err)
		}
		return closeCheck
	}
	if m.failures++; errors.Is(err, discovery.ErrRefused) || m.failures > 3 {
		n.report(ctx, "this node could not get the mesh's present secret: "+err.Error())
	}
	wait := min(askInterval<<min(m.failures-1, 10), maxAskInterval)
	m.askAt = now.Add(wait)
	n.log.Debug("the mesh's new secret", "error", err, "retryIn", wait.String())
	return wait
}

// report shows why this node does not get the secret, or no longer does.
func (n *Node) report(ctx context.Context, problem string) {
	m := &n.membership
	m.mu.Lock()
	same := m.problem == problem
	m.problem = problem
	m.mu.Unlock()
	if !same {
		_ = n.refresh(ctx) // fails at the end only
	}
}

// askFounder asks the founder for the secret as a member: through the mesh and, if that
// fails, at the addresses by which this node joined.
func (n *Node) askFounder(ctx context.Context) (mesh.Membership, error) {
	c := n.membership.present()
	e := mesh.NewEnrolment(mesh.EnrolmentID{}, mesh.Secret{}, n.keys.NodeKey, c.Pin)
	through := client.EnrolConfig{Servers: meshServers(c), Pin: c.Pin, Dial: n.dialMesh}
	answer, err := client.Enrol(ctx, through, e.Encode())
	if err != nil { // also if another program answers there
		n.log.Debug("the founder does not answer through the mesh", "error", err)
		direct := client.EnrolConfig{Servers: c.Servers, Pin: c.Pin, Control: bind.Control(n.mark)}
		answer, err = client.Enrol(ctx, direct, e.Encode())
	}
	if err != nil {
		return mesh.Membership{}, err
	}
	return mesh.ParseMembership(answer)
}

// meshServers returns the founder's server as it is reached through the mesh.
func meshServers(c *state.Cluster) (out []string) {
	address := mesh.DerivedAddress(mesh.ULA(c.ID), c.FounderID).String()
	for _, s := range c.Servers {
		if _, port, err := net.SplitHostPort(s); err == nil && !slices.Contains(out, net.JoinHostPort(address, port)) {
			out = append(out, net.JoinHostPort(address, port))
		}
	}
	return out
}

// dialMesh connects through the mesh.
func (n *Node) dialMesh(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, meshDialTimeout)
	defer cancel()
	return n.plane.DialContext(ctx, "tcp", address)
}

// admitted takes the founder's answer. While the mesh changes to the new secret, both are
// used.
func (n *Node) admitted(m mesh.Membership) error {
	return n.alter(func(c *state.Cluster) error {
		if m.ClusterID != c.ID {
			return fmt.Errorf("the founder's server is now that of another mesh (%s)", mesh.ShortClusterID(m.ClusterID))
		}
		s, signed, authority, err := m.Latest(c.Authority)
		if err != nil {
			return err
		}
		secret, number := c.Newest()
		switch {
		case s.Number < statementOf(c).Number, m.SecretNumber < number, m.SecretNumber == number && m.Secret != secret:
			return errors.New("the founder has an older secret than this node: its state was restored from a backup; run wirespan secret rotate there")
		case m.SecretNumber > number:
			take(c, s, signed)
			c.Next, c.NextNumber = m.Secret, m.SecretNumber
		}
		take(c, s, signed)
		c.Authority, c.FounderID = authority, m.Founder
		return nil
	})
}

// statementOf returns the newest statement that a node knows; Number 0: there is none.
func statementOf(c *state.Cluster) mesh.Statement {
	s, _ := mesh.ParseStatement(c.Statement) // it was read before
	return s
}

// refresh makes the agent use the cluster as it is now.
func (n *Node) refresh(ctx context.Context) error { return n.agent.Refresh(ctx) }

// refreshed is called by the agent's loop.
func (n *Node) refreshed() (*agent.Effective, error) { return n.effective(n.config) }

// ownMesh reports whether the mesh is one that wirespan founded.
func ownMesh(c *config.Config, cluster *state.Cluster) bool { return c.Standalone() && cluster != nil }
