package mesh

import (
	"slices"
	"testing"
	"time"
)

// realPeer is a peer with a node id that has a signing key.
func realPeer(name, suffix string, seed byte) Affiliate {
	a := signed(testPeer(name, suffix), 5)
	a.NodeID = NewNodeKey([32]byte{seed}).NodeID()
	return a
}

func digest(t *testing.T, a Affiliate) NodeDigest {
	d, err := DigestNodeID(a.NodeID)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A pair uses the next secret once both have it, whatever other pairs do.
func TestNextSecretIsUsedPairByPair(t *testing.T) {
	has, later, lacks := realPeer("has", "11", 1), realPeer("later", "12", 2), realPeer("lacks", "13", 3)
	has.Record.SecretNumber, later.Record.SecretNumber, lacks.Record.SecretNumber = 2, 3, 1
	tr := newTrial(t)
	tr.in.Config.ClusterSecret = NewSecret([32]byte{1})
	next := NewSecret([32]byte{2})
	keys := func(plan Plan) map[Key]Secret {
		out := map[Key]Secret{}
		for _, p := range plan.Peers {
			out[p.PublicKey] = p.PresharedKey
		}
		return out
	}
	for a, key := range keys(tr.decide(0, has, later, lacks)) {
		if key != tr.in.Config.ClusterSecret {
			t.Errorf("without a next secret, %v has another one", a)
		}
	}
	tr.in.Config.Charter = Charter{SecretNumber: 2, Next: next}
	tr.handshake(lacks, "192.0.2.3:51820")
	tr.handshake(has, "192.0.2.1:51820")
	plan := tr.decide(time.Second, has, later, lacks)
	for _, want := range []struct {
		a      Affiliate
		secret Secret
	}{{has, next}, {later, next}, {lacks, tr.in.Config.ClusterSecret}} {
		if got := keys(plan)[want.a.PublicKey]; got != want.secret {
			t.Errorf("%s has the wrong preshared key", want.a.Nodename)
		}
	}
	if !slices.Equal(plan.Waiting, []string{"lacks"}) {
		t.Errorf("waiting for %q, want the peer that is up and lacks it", plan.Waiting)
	}
}

// If one of a pair does not know that the other one has the next secret, they still meet.
func TestPairsMeetWithoutDiscovery(t *testing.T) {
	next := NewSecret([32]byte{2})
	ends := [2]Input{{Self: Identity{NodeID: "a"}}, {Self: Identity{NodeID: "b"}}}
	peers := [2]PeerSpec{{NodeID: "b", secretNumber: 2}, {NodeID: "a", secretNumber: 1}}
	for i := range ends {
		ends[i].Config = Config{ClusterSecret: NewSecret([32]byte{1}), Charter: Charter{SecretNumber: 2, Next: next}}
	}
	keys := func(now time.Time) (Secret, Secret) {
		status := PeerStatus{LastHandshakeTime: testNow}
		return ends[0].presharedKey(&peers[0], &status, now), ends[1].presharedKey(&peers[1], &status, now)
	}
	if a, b := keys(testNow.Add(handshakeLate)); a != next || b == next {
		t.Error("with a session, each goes by the other one's record")
	}
	same := 0
	for at := testNow.Add(handshakeLate + time.Second); at.Before(testNow.Add(handshakeLate + 6*higherPeriod)); at = at.Add(ReconcileInterval) {
		if a, b := keys(at); a == b {
			same++
		}
	}
	if same < 6 {
		t.Errorf("both have the same key in %d of 18 passes", same)
	}
}

// An expelled node is no peer, and what it had is free at once.
func TestExpelledNodes(t *testing.T) {
	out, other := realPeer("out", "11", 1), realPeer("other", "12", 2)
	out.AdditionalAddresses = prefixes("10.9.0.0/24")
	tr := newTrial(t)
	tr.handshake(out, "192.0.2.1:51820")
	tr.want(tr.decide(0, out, other), "10.9.0.1", out.NodeID)
	tr.in.Config.Charter.Statement = Statement{Number: 1, Expelled: []NodeDigest{digest(t, out)}}
	plan := tr.decide(time.Second, out, other)
	tr.want(plan, "10.9.0.1", "clear")
	if len(plan.Peers) != 1 || plan.Peers[0].PublicKey != other.PublicKey || len(plan.Held) > 0 {
		t.Errorf("peers %v, held %v", plan.Peers, plan.Held)
	}
	again := realPeer("out", "13", 3) // the box, as a new node
	again.AdditionalAddresses = out.AdditionalAddresses
	plan = tr.decide(time.Second, out, other, again)
	tr.want(plan, "10.9.0.1", again.NodeID)
	if ownerOfName(plan, "out") != again.NodeID {
		t.Errorf("the name is not free: members %v, conditions %v", plan.Members, plan.Conditions)
	}
}

// What the authority accepts holds on every node, for that name only.
func TestAcceptedByTheAuthority(t *testing.T) {
	old, anew, other := realPeer("box", "11", 1), realPeer("box", "12", 2), realPeer("db", "13", 3)
	anew.PublicKey = testKey("anew")
	tr := newTrial(t)
	tr.decide(0, old, other)
	if plan := tr.decide(time.Minute, anew, other); ownerOfName(plan, "box") == anew.NodeID {
		t.Fatal("a new node has the name of another one")
	}
	accepted, err := NewAcceptance(anew.NodeID, "box")
	if err != nil {
		t.Fatal(err)
	}
	tr.in.Config.Charter.Statement = Statement{Number: 1, Accepted: []Acceptance{accepted}}
	poser := anew
	poser.Nodename = "db"
	if plan := tr.decide(time.Second, poser, other); ownerOfName(plan, "db") != other.NodeID {
		t.Error("an accepted node takes another name")
	}
	thief := anew
	thief.PublicKey = other.PublicKey
	if plan := tr.decide(time.Second, thief, other); len(plan.Peers) != 1 || plan.Specs[0].NodeID != other.NodeID {
		t.Errorf("an accepted node takes another node's key: %v", plan.Specs)
	}
	for range 2 {
		if plan := tr.decide(time.Second, anew, other); ownerOfName(plan, "box") != anew.NodeID || hasCondition(plan, ConditionDuplicateNodename) {
			t.Errorf("members %v, conditions %v", plan.Members, plan.Conditions)
		}
	}
}

func TestNewestStatement(t *testing.T) {
	key, forger := NewAuthorityKey([32]byte{1}), NewAuthorityKey([32]byte{2})
	text := func(k AuthorityKey, number uint64) string { return string(k.Sign("c", Statement{Number: number})) }
	repeats := func(text string) Affiliate { return Affiliate{Record: Record{Statement: text}} }
	affiliates := []Affiliate{
		repeats(""), repeats(text(key, 3)), repeats(text(key, 7)), repeats(text(key, 5)), repeats(text(forger, 9)), repeats("garbage"),
	}
	refused := map[string]bool{}
	c := Charter{Authority: key.Authority(), Statement: Statement{Number: 4}}
	if got, _ := c.NewestStatement("c", affiliates, refused); got != text(key, 7) {
		t.Errorf("newest is %q", got)
	}
	if !refused[text(forger, 9)] || len(refused) != 1 {
		t.Errorf("refused: %d", len(refused))
	}
	founder := repeats(text(forger, 9))
	founder.NodeID, c.Founder = "founder", "founder"
	for range 2 { // what was refused before is as unknown
		if _, unknown := c.NewestStatement("c", append(affiliates, founder), refused); !unknown {
			t.Error("a statement of the founder that can't be verified is not reported")
		}
	}
	if _, unknown := c.NewestStatement("c", affiliates, refused); unknown {
		t.Error("a statement of another node is reported as the founder's")
	}
	c.Statement.Number = 7
	if got, _ := c.NewestStatement("c", affiliates, refused); got != "" {
		t.Errorf("newer than the newest: %q", got)
	}
	if got, _ := (&Charter{}).NewestStatement("c", affiliates, refused); got != "" {
		t.Errorf("without an authority: %q", got)
	}
	if got, _ := (&Charter{Authority: key.Authority()}).NewestStatement("d", affiliates, map[string]bool{}); got != "" {
		t.Errorf("of another mesh: %q", got)
	}
	for i := range maxRefused + 10 {
		c.NewestStatement("c", []Affiliate{repeats(text(forger, uint64(100+i)))}, refused)
	}
	if len(refused) > maxRefused {
		t.Errorf("%d refused statements are remembered", len(refused))
	}
}

func TestFindNode(t *testing.T) {
	id := NewNodeKey([32]byte{1}).NodeID()
	pins := []Pin{{NodeID: "a1", Nodename: "web"}, {NodeID: "b1", Nodename: "db"}}
	affiliates := []Affiliate{{NodeID: "a2", Nodename: "web"}, {NodeID: "b1", Nodename: "db"}, {NodeID: "c1", Nodename: "new"}, {NodeID: "d1"}}
	for node, want := range map[string]string{id: id, "db": "b1", "new": "c1", "web": "", "": "", "none": ""} {
		if got, err := FindNode(pins, affiliates, node); got != want || (err == nil) != (want != "") {
			t.Errorf("FindNode(%q) = %q, %v", node, got, err)
		}
	}
}
