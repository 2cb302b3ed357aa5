//go:build !edge

package node

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// founderOf returns a node that has founded a mesh, with nothing running.
func founderOf(st *state.Dir) *Node {
	n := &Node{log: (Config{}).logger(), state: st, membership: membership{wake: mesh.NewSignal()}}
	n.keys.NodeKey = mesh.NewNodeKey([32]byte{99})
	n.keys.NodeID = n.keys.NodeKey.NodeID()
	c := must(state.LoadCluster(st))
	if c == nil {
		c = must(state.FoundCluster(st))
	}
	n.membership.enterCluster(c)
	return n
}

func memoryState() *state.Dir { return must(state.Open(config.StateMemory, nil)) }

// again returns the node after a crash: with what it has stored.
func again(n *Node) *Node { return founderOf(n.state) }

var testTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// number is that of the secret after one change.
var number = uint64(testTime.Unix())

// change begins a change of the secret, and end ends it, without a server and an agent.
func change(t *testing.T, n *Node, expelled ...mesh.NodeDigest) {
	t.Helper()
	err := n.decree(func(c *state.Cluster, s *mesh.Statement) error {
		begin(c, s, testTime)
		s.Expelled = expelled
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func end(t *testing.T, n *Node) {
	t.Helper()
	if err := n.decree(func(c *state.Cluster, s *mesh.Statement) error { c.Close(); s.Closed = true; return nil }); err != nil {
		t.Fatal(err)
	}
}

// memberOf returns a node that has joined the founder's mesh.
func memberOf(t *testing.T, founder *Node) *Node {
	t.Helper()
	st := memoryState()
	token := testToken()
	token.Authority = founder.membership.present().Authority
	if _, err := state.JoinCluster(st, token, answerOf(t, founder)); err != nil {
		t.Fatal(err)
	}
	n := &Node{log: (Config{}).logger(), state: st, membership: membership{wake: mesh.NewSignal()}}
	n.membership.enterCluster(must(state.LoadCluster(st)))
	return n
}

// answerOf returns what the founder answers to members, as it arrives.
func answerOf(t *testing.T, founder *Node) mesh.Membership {
	t.Helper()
	m := membershipOf(founder.membership.present(), founder.keys.NodeID)
	out, err := mesh.ParseMembership(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hears gives a member the founder's newest statement.
func hears(t *testing.T, member, founder *Node) {
	t.Helper()
	signed := founder.membership.present().Statement
	err := member.alter(func(c *state.Cluster) error {
		s, err := mesh.OpenStatement(c.Authority, c.ID, signed)
		if err == nil {
			take(c, s, signed)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A change of the secret goes step by step, and each step is stored before it counts.
func TestChangeOfTheSecret(t *testing.T) {
	founder := founderOf(memoryState())
	member := memberOf(t, founder)
	first := founder.membership.present().Secret
	change(t, founder, mesh.NodeDigest{1})
	founder = again(founder)
	c := founder.membership.present()
	if c.Next.IsZero() || c.NextNumber != number || c.Secret != first || c.SecretNumber != 0 {
		t.Fatalf("after the beginning: %+v", c)
	}
	hears(t, member, founder)
	if m := member.membership.present(); !m.Next.IsZero() || m.Secret != first {
		t.Errorf("a member that has only heard of it: %+v", m)
	}
	if err := member.admitted(answerOf(t, founder)); err != nil {
		t.Fatal(err)
	}
	if m := member.membership.present(); m.Next != c.Next || m.NextNumber != number || m.Secret != first {
		t.Errorf("a member with the answer: %+v", m)
	}
	late := memberOf(t, founder)
	if m := late.membership.present(); m.Secret != c.Next || m.SecretNumber != number || !m.Next.IsZero() {
		t.Errorf("a node that joins during the change: %+v", m)
	}
	end(t, founder)
	founder = again(founder)
	hears(t, member, founder)
	hears(t, late, founder)
	for _, n := range []*Node{founder, member, late} {
		got := must(state.LoadCluster(n.state))
		if got.Secret != c.Next || got.SecretNumber != number || !got.Next.IsZero() {
			t.Errorf("after the end: %+v", got)
		}
	}
}

// A member that has missed the end of a change goes on with the next one.
func TestMissedEndOfAChange(t *testing.T) {
	founder := founderOf(memoryState())
	member := memberOf(t, founder)
	change(t, founder)
	if err := member.admitted(answerOf(t, founder)); err != nil {
		t.Fatal(err)
	}
	second := founder.membership.present().Next
	end(t, founder)
	change(t, founder)
	if err := member.admitted(answerOf(t, founder)); err != nil {
		t.Fatal(err)
	}
	m, f := member.membership.present(), founder.membership.present()
	if m.Secret != second || m.SecretNumber != number || m.Next != f.Next || m.NextNumber != number+1 {
		t.Errorf("the member has %d and %d", m.SecretNumber, m.NextNumber)
	}
	// A founder that was restored from a backup knows less than its members.
	old := founderOf(memoryState())
	c := *old.membership.present()
	c.ID, c.Authority, c.Statement = f.ID, f.Authority, nil
	if err := member.admitted(membershipOf(&c, founder.keys.NodeID)); err == nil {
		t.Error("a member takes an older secret")
	}
}

// All members follow the authority to its successor, whenever they joined.
func TestSuccessors(t *testing.T) {
	founder := founderOf(memoryState())
	early := memberOf(t, founder)
	absent := memberOf(t, founder)
	for range 2 {
		next, err := state.PrepareAuthorityKey(founder.state, founder.membership.present().Authority)
		if err != nil {
			t.Fatal(err)
		}
		founder = again(founder) // before it was said: the old key counts
		if _, err := state.LoadAuthorityKey(founder.state, founder.membership.present().Authority); err != nil {
			t.Fatal(err)
		}
		err = founder.decree(func(_ *state.Cluster, s *mesh.Statement) error { s.Successor = next.Authority(); return nil })
		if err != nil {
			t.Fatal(err)
		}
		hears(t, early, founder)
		founder = again(founder) // the new key is not in its place yet
	}
	change(t, founder)
	if _, err := state.LoadAuthorityKey(founder.state, testToken().Authority); err == nil {
		t.Error("the key of another authority is accepted")
	}
	for name, n := range map[string]*Node{"one that heard all": early, "one that heard nothing": absent, "one that joins now": memberOf(t, founder)} {
		if err := n.admitted(answerOf(t, founder)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c := must(state.LoadCluster(n.state))
		if _, got := c.Newest(); c.Authority != founder.membership.present().Authority || got != number || !bytes.Equal(c.Statement, founder.membership.present().Statement) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	stranger := memberOf(t, founderOf(memoryState()))
	if err := stranger.admitted(answerOf(t, founder)); err == nil {
		t.Error("a member of another mesh is admitted")
	}
}

// Only the founder decides.
func TestMembersDecideNothing(t *testing.T) {
	member := memberOf(t, founderOf(memoryState()))
	for name, err := range map[string]error{
		"expel":   member.Expel(t.Context(), []string{"b"}),
		"rotate":  member.RotateSecret(t.Context()),
		"replace": member.ReplaceAuthority(t.Context()),
	} {
		if !errors.Is(err, errNotAuthority) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a statement says counts although the record of the members does not follow yet: an
// expelled node that asks at the right moment gets no secret.
func TestExpelledByStatementAlone(t *testing.T) {
	founder := founderOf(memoryState())
	founder.tokens = must(openTokens(founder.state, founder.membership.present()))
	founder.server = &embeddedServer{pin: [32]byte{7}}
	member := mesh.NewNodeKey([32]byte{1})
	id, key, _, err := founder.tokens.enrolments.Issue(state.TokenSpec{Uses: 2, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	joins := mesh.NewEnrolment(id, key, member, founder.server.pin)
	renews := mesh.NewEnrolment(mesh.EnrolmentID{}, mesh.Secret{}, member, founder.server.pin)
	for _, e := range []mesh.Enrolment{joins, renews} {
		if _, err := founder.enrol(t.Context(), e.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	change(t, founder, must(mesh.DigestNodeID(member.NodeID())))
	for _, e := range []mesh.Enrolment{joins, renews} {
		if _, err := founder.enrol(t.Context(), e.Encode()); err == nil {
			t.Error("an expelled node gets the new secret")
		}
	}
}

// Statements and successions that come at once are made one after another, and none is
// signed by a key that does not count.
func TestDecisionsAtOnce(t *testing.T) {
	founder := founderOf(memoryState())
	early := memberOf(t, founder)
	var all sync.WaitGroup
	for i := range 2 * mesh.MaxSuccessions {
		all.Go(func() {
			if i%2 == 0 {
				if _, err := founder.succeed(); err != nil {
					t.Error(err)
				}
				return
			}
			if err := founder.accepting(mesh.Affiliate{NodeID: founder.keys.NodeID, Nodename: "a"}); err != nil && !errors.Is(err, errNotAuthority) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := early.admitted(answerOf(t, again(founder))); err != nil {
		t.Error(err)
	}
	if _, err := founder.succeed(); err == nil {
		t.Errorf("more than %d successors", mesh.MaxSuccessions)
	}
}
