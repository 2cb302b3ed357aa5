package mesh

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// trial makes decisions one after another, each with what the last one remembers.
type trial struct {
	t   *testing.T
	in  Input
	now time.Time
}

func newTrial(t *testing.T, affiliates ...Affiliate) *trial {
	in := testInput()
	in.Config.ForceRouting, in.Config.HoldNetworks = true, 24*time.Hour
	in.Affiliates = affiliates
	return &trial{t, in, testNow}
}

// decide decides after a while.
func (tr *trial) decide(later time.Duration, affiliates ...Affiliate) Plan {
	tr.now = tr.now.Add(later)
	tr.in.Affiliates = affiliates
	plan := Decide(tr.in, tr.now)
	tr.in.Previous, tr.in.Known, tr.in.Pins = plan.Statuses, plan.Known, plan.Pins
	return plan
}

// handshake gives a node a session.
func (tr *trial) handshake(a Affiliate, endpoint string) {
	tr.in.Stats = append(tr.in.Stats, PeerStats{PublicKey: a.PublicKey, Endpoint: netip.MustParseAddrPort(endpoint), LastHandshakeTime: tr.now})
}

// goes says where packets to an address go: to a node id, "held", or "clear".
func goes(plan Plan, to string) string {
	a := netip.MustParseAddr(to)
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	for _, s := range plan.Specs {
		if slices.ContainsFunc(s.AllowedIPs, contains) {
			return s.NodeID
		}
	}
	if slices.ContainsFunc(plan.Routed, contains) {
		return "held"
	}
	return "clear"
}

func (tr *trial) want(plan Plan, to, want string) {
	tr.t.Helper()
	if got := goes(plan, to); got != want {
		tr.t.Errorf("%s goes to %s, want %s; conditions %v", to, got, want, plan.Conditions)
	}
}

func hasCondition(plan Plan, typ ConditionType) bool {
	return slices.ContainsFunc(plan.Conditions, func(c Condition) bool { return c.Type == typ })
}

// withNetworks returns a peer with networks behind it.
func withNetworks(name, suffix, networks string) Affiliate {
	a := testPeer(name, suffix)
	a.AdditionalAddresses = prefixes(networks)
	return a
}

// signed gives an affiliate a record.
func signed(a Affiliate, sequence uint64) Affiliate {
	a.Record = Record{Sequence: sequence, Instance: 1, Start: 1}
	return a
}

func TestNetworksOfAVanishedNodeAreHeld(t *testing.T) {
	b := withNetworks("b", "11", "10.9.0.0/24")
	tr := newTrial(t)
	tr.want(tr.decide(0, b), "10.9.0.1", "b")
	plan := tr.decide(time.Minute)
	tr.want(plan, "10.9.0.1", "held")
	if len(plan.Held) != 1 || plan.Held[0].NodeID != "b" || !plan.Held[0].Since.Equal(tr.now) || !hasCondition(plan, ConditionNetworksHeld) {
		t.Errorf("held %v, conditions %v", plan.Held, plan.Conditions)
	}
	tr.want(tr.decide(24*time.Hour-time.Second), "10.9.0.1", "held")
	tr.want(tr.decide(time.Second), "10.9.0.1", "clear")
	tr.want(tr.decide(time.Second, b), "10.9.0.1", "b")

	tr.in.Config.HoldNetworks = 0
	tr.want(tr.decide(time.Second), "10.9.0.1", "clear")
}

// After a restart, networks are held without a word until discovery has answered.
func TestHeldUntilDiscoveryAnswers(t *testing.T) {
	tr := newTrial(t)
	tr.decide(0, withNetworks("b", "11", "10.9.0.0/24"))
	tr.in.Host.DiscoveryPending, tr.in.Known, tr.in.Previous = true, nil, nil
	plan := tr.decide(time.Minute)
	tr.want(plan, "10.9.0.1", "held")
	if hasCondition(plan, ConditionNetworksHeld) || !plan.Held[0].Since.IsZero() {
		t.Errorf("held %v, conditions %v", plan.Held, plan.Conditions)
	}
	tr.in.Host.DiscoveryPending = false
	if plan = tr.decide(time.Second); !hasCondition(plan, ConditionNetworksHeld) {
		t.Errorf("conditions %v", plan.Conditions)
	}
}

func TestHeldNetworksSpareTheHostsOwn(t *testing.T) {
	tr := newTrial(t)
	tr.in.Config.ExcludeAdvertisedNetworks = prefixes("10.9.1.0/24")
	tr.decide(0, withNetworks("b", "11", "172.20.0.0/16 10.9.0.0/16"))
	plan := tr.decide(time.Minute)
	tr.want(plan, "172.20.2.9", "clear") // on link
	tr.want(plan, "172.20.3.9", "held")
	tr.want(plan, "10.9.1.1", "clear") // excluded
	tr.want(plan, "10.9.2.1", "held")
}

func TestForgottenNodesHoldNothing(t *testing.T) {
	tr := newTrial(t)
	tr.decide(0, withNetworks("b", "11", "10.9.0.0/24"))
	tr.decide(time.Minute)
	var err error
	if tr.in.Pins, err = Forget(tr.in.Pins, "b"); err != nil {
		t.Fatal(err)
	}
	tr.want(tr.decide(time.Minute), "10.9.0.1", "clear")
	if _, err := Forget(tr.in.Pins, "b"); err == nil {
		t.Error("a node was forgotten twice")
	}
}

// A newcomer gets the networks of a node that is gone when these pass on.
func TestNetworksPassOn(t *testing.T) {
	b, c := withNetworks("b", "11", "10.9.0.0/24"), withNetworks("a", "12", "10.9.0.0/24")
	tr := newTrial(t)
	tr.decide(0, b)
	tr.want(tr.decide(time.Minute, b, c), "10.9.0.1", "b") // although c has the lower id
	tr.want(tr.decide(time.Minute, c), "10.9.0.1", "held")
	tr.want(tr.decide(PassOnTime-time.Second, c), "10.9.0.1", "held")
	tr.want(tr.decide(time.Second, c), "10.9.0.1", "a")
	tr.want(tr.decide(time.Minute, b, c), "10.9.0.1", "a")

	for name, end := range map[string]func(Affiliate) Affiliate{
		"a signed leave": func(Affiliate) Affiliate {
			return Affiliate{NodeID: "b", Record: Record{Sequence: 9, Start: 9, Left: true}}
		},
		"a record without them": func(a Affiliate) Affiliate { a.AdditionalAddresses = nil; return signed(a, 9) },
	} {
		tr := newTrial(t)
		tr.decide(0, signed(b, 1))
		tr.want(tr.decide(time.Minute, signed(b, 1), c), "10.9.0.1", "b")
		plan := tr.decide(time.Minute, end(signed(b, 1)), c)
		if got := goes(plan, "10.9.0.1"); got != "a" {
			t.Errorf("%s: the network goes to %s", name, got)
		}
	}
}

// What discovery stops saying, or says wrongly, drops no peer with a session.
func TestSessionsOutliveDiscovery(t *testing.T) {
	b := withNetworks("b", "11", "10.9.0.0/24")
	for name, later := range map[string][]Affiliate{
		"deleted":       nil,
		"another key":   {func() Affiliate { x := b; x.PublicKey = testKey("evil"); return x }()},
		"unsigned":      {func() Affiliate { x := b; x.AdditionalAddresses = nil; return x }()},
		"an old record": {signed(withNetworks("b", "11", ""), 1)},
		"its key at another node": {func() Affiliate {
			x := testPeer("a", "19")
			x.PublicKey = b.PublicKey
			return x
		}()},
	} {
		tr := newTrial(t)
		first := b
		if name == "unsigned" || name == "an old record" {
			first = signed(b, 5)
		}
		tr.decide(0, first)
		tr.handshake(b, "172.20.2.9:1")
		tr.decide(time.Second, first)
		for range 3 {
			plan := tr.decide(time.Minute, later...)
			if got := goes(plan, "10.9.0.1"); got != "b" || len(plan.Peers) != 1 {
				t.Errorf("%s: with a session, the network goes to %s", name, got)
			}
		}
		plan := tr.decide(PeerDownInterval, later...)
		if got := goes(plan, "10.9.0.1"); got != "held" {
			t.Errorf("%s: without one, to %s", name, got)
		}
	}
}

// Whom someone removes from a registry is gone at once, until one has it again.
func TestRemoved(t *testing.T) {
	b, c := withNetworks("b", "11", "10.9.0.0/24"), testPeer("c", "12")
	for name, b := range map[string]Affiliate{"signed": signed(b, 5), "unsigned": b} {
		tr := newTrial(t)
		tr.decide(0, b, c)
		tr.handshake(b, "172.20.2.9:1")
		tr.in.Removed = []string{tr.in.Self.NodeID, b.NodeID}
		tr.want(tr.decide(time.Second, b, c), "10.9.0.1", "b") // another registry has it
		for range 2 {
			plan := tr.decide(time.Second, c)
			if got := goes(plan, "10.9.0.1"); got != "clear" || len(plan.Peers) != 1 {
				t.Errorf("%s: the network goes to %s; %d peers", name, got, len(plan.Peers))
			}
			tr.in.Removed = nil // as after a restart
		}
		tr.want(tr.decide(time.Second, b, c), "10.9.0.1", "b")
	}
}

func TestSignedNodesMayChange(t *testing.T) {
	tr := newTrial(t)
	b := signed(testPeer("b", "11"), 1)
	tr.decide(0, b)
	b.PublicKey, b.Address, b.Record.Sequence = testKey("new"), netip.MustParseAddr("fd00:0:0:2::12"), 2
	plan := tr.decide(time.Minute, b)
	if len(plan.Peers) != 1 || plan.Peers[0].PublicKey != testKey("new") || len(plan.Conditions) != 0 {
		t.Errorf("peers %v, conditions %v", plan.Peers, plan.Conditions)
	}
	// A signature displaces what was pinned unsigned.
	c := testPeer("c", "13")
	tr.decide(time.Minute, b, c)
	c.PublicKey = testKey("c2")
	plan = tr.decide(time.Minute, b, signed(c, 1))
	if len(plan.Peers) != 2 || len(plan.Conditions) != 0 {
		t.Errorf("peers %v, conditions %v", plan.Peers, plan.Conditions)
	}
	if plan = tr.decide(time.Minute, b, c); len(plan.Peers) != 1 || !hasCondition(plan, ConditionUnsigned) {
		t.Errorf("unsigned again: peers %v, conditions %v", plan.Peers, plan.Conditions)
	}
	tr.in.Config.RequireSigned = true
	if plan = tr.decide(time.Minute, b, testPeer("d", "14")); len(plan.Peers) != 1 || !hasCondition(plan, ConditionUnsigned) {
		t.Errorf("where records must be signed: peers %v, conditions %v", plan.Peers, plan.Conditions)
	}
}

func TestClonesAreNamed(t *testing.T) {
	tr := newTrial(t)
	older, later := signed(testPeer("b", "11"), 10), signed(testPeer("b", "11"), 20)
	later.Record.Instance, later.Record.Start = 2, 20
	tr.decide(0, older)
	if plan := tr.decide(time.Minute, later); hasCondition(plan, ConditionCloned) {
		t.Error("a restart looks like a clone")
	}
	older.Record.Sequence = 30
	if plan := tr.decide(time.Minute, older); !hasCondition(plan, ConditionCloned) || len(plan.Peers) != 1 {
		t.Errorf("conditions %v", plan.Conditions)
	}
}

// An address that is derived from a node id belongs to that node, also when another node
// claimed it first.
func TestDerivedAddresses(t *testing.T) {
	tr := newTrial(t)
	thief, owner := testPeer("a", "11"), testPeer("z", "12")
	owner.Address = DerivedAddress(testSubnet, "z")
	thief.Address = owner.Address
	plan := tr.decide(0, thief)
	tr.want(plan, owner.Address.String(), "a") // nothing is known of z yet
	tr.want(tr.decide(time.Minute, thief, owner), owner.Address.String(), "z")
	if plan := tr.decide(time.Hour, thief); goes(plan, owner.Address.String()) == "a" {
		t.Error("the address of a node that is gone passed on, although it is derived from its id")
	}
}

func TestAddressesStayWithTheFirst(t *testing.T) {
	tr := newTrial(t)
	first, lower := testPeer("n5", "11"), testPeer("n1", "11")
	to := first.Address.String()
	tr.decide(0, first)
	plan := tr.decide(time.Minute, first, lower)
	tr.want(plan, to, "n5")
	if !hasCondition(plan, ConditionDuplicateAddress) {
		t.Errorf("conditions %v", plan.Conditions)
	}
	tr.want(tr.decide(time.Minute, lower), to, "clear")
	tr.want(tr.decide(PassOnTime, lower), to, "n1")
	// The name stays with a node that is gone; accepting the newcomer hands it over.
	tr = newTrial(t)
	first.Nodename, lower.Nodename = "web", "web"
	tr.decide(0, first)
	if plan := tr.decide(48*time.Hour, lower); ownerOfName(plan, "web") != "" || plan.Specs[0].Label != "n1" {
		t.Errorf("web is %v", plan.Specs)
	}
	var err error
	if tr.in.Pins, _, err = Accept(tr.in.Pins, tr.in.Affiliates, "n1"); err != nil {
		t.Fatal(err)
	}
	if plan := tr.decide(time.Minute, lower); ownerOfName(plan, "web") != "n1" {
		t.Errorf("accepted, web is %v", plan.Specs)
	}
}

func TestEphemeralNodesAreForgotten(t *testing.T) {
	tr := newTrial(t)
	b := signed(testPeer("b", "11"), 1)
	b.Record.Ephemeral, b.Nodename = true, "web"
	tr.decide(0, b)
	if plan := tr.decide(time.Minute); len(othersOf(plan.Pins)) != 1 {
		t.Errorf("pins %v", plan.Pins)
	}
	tr.decide(PassOnTime)
	if plan := tr.decide(0); len(othersOf(plan.Pins)) != 0 {
		t.Errorf("pins %v after the node is gone", plan.Pins)
	}
}

// Public addresses need an allowance, whatever the length of the prefix.
func TestPublicNetworksAreRefused(t *testing.T) {
	for _, n := range []string{"8.8.8.8/32", "8.0.0.0/8", "198.51.100.0/24", "172.32.0.0/16", "172.0.0.0/8", "2001:4860::/32", "64:ff9b::808:808/128", "2002:808:808::/48", "192.88.99.0/24"} {
		tr := newTrial(t)
		plan := tr.decide(0, withNetworks("b", "11", n))
		addr := netip.MustParsePrefix(n).Addr().String()
		tr.want(plan, addr, "clear")
		if !hasCondition(plan, ConditionRouteRefused) {
			t.Errorf("%s: conditions %v", n, plan.Conditions)
		}
		tr.in.Config.AllowedNetworks = []Allowance{{"b", netip.MustParsePrefix(n)}}
		tr.want(tr.decide(0, withNetworks("b", "11", n)), addr, "b")
	}
}

// A public address of its own is routed to a node once it has answered there.
func TestPublicAddressesMustAnswer(t *testing.T) {
	b := testPeer("b", "11")
	b.Addresses = addrs("8.8.8.8 10.0.0.1 9.9.9.9")
	tr := newTrial(t)
	plan := tr.decide(0, b)
	tr.want(plan, "8.8.8.8", "clear")
	tr.want(plan, "10.0.0.1", "b")
	tr.handshake(b, "8.8.8.8:51820")
	plan = tr.decide(time.Minute, b)
	tr.want(plan, "8.8.8.8", "b")
	tr.want(plan, "9.9.9.9", "clear")
	tr.in.Stats[0].Endpoint = netip.MustParseAddrPort("1.1.1.1:1") // where it answers, but not its own
	plan = tr.decide(time.Minute, b)
	tr.want(plan, "1.1.1.1", "clear")
	tr.want(plan, "8.8.8.8", "b")
	tr.in.Stats = nil
	tr.want(tr.decide(PeerDownInterval, b), "8.8.8.8", "b") // a restart must not open a gap
	tr.want(tr.decide(time.Minute), "8.8.8.8", "held")
}

// Made-up nodes can't crowd out the networks of real ones.
func TestRoomIsShared(t *testing.T) {
	var sybils []Affiliate
	for i := range 600 {
		a := testPeer("m"+strings.Repeat("x", i), "0")
		a.PublicKey = testKey(a.NodeID)
		for j := range 128 {
			a.AdditionalAddresses = append(a.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 2), byte(i&3)<<6 | byte(j>>1), byte(j&1) << 7}), 25))
		}
		a.ExcludeAdvertisedNetworks = prefixes("10.0.0.1/32 10.0.0.129/32")
		sybils = append(sybils, a)
	}
	real := withNetworks("zz", "11", "192.168.7.0/24")
	tr := newTrial(t)
	plan := tr.decide(0, append(sybils, real)...)
	tr.want(plan, "192.168.7.1", "zz")
	if n := len(plan.Routes); n > maxPrefixes+601 {
		t.Errorf("%d routes", n)
	}
}

// What a node had stays routed to it when it announces too much; the rest is held.
func TestTooManyNetworks(t *testing.T) {
	tr := newTrial(t)
	tr.decide(0, withNetworks("b", "11", "10.9.0.0/24"))
	a := withNetworks("b", "11", "10.9.0.0/24 10.64.0.0/10")
	for i := range 100 {
		a.ExcludeAdvertisedNetworks = append(a.ExcludeAdvertisedNetworks, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64 + byte(i*37)&63, byte(i * 101), 1}), 32))
	}
	plan := tr.decide(time.Minute, a)
	tr.want(plan, "10.9.0.1", "b")
	tr.want(plan, "10.65.3.4", "held")
	if !hasCondition(plan, ConditionAffiliateTruncated) {
		t.Errorf("conditions %v", plan.Conditions)
	}
}
