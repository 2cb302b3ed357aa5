package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// rotationInput returns a node whose next key discovery has shown, and two peers with
// sessions, of which one signs.
func rotationInput() Input {
	in := testInput()
	in.Rotation = Rotation{Due: testNow.Add(-time.Hour), Next: testKey("next"), Announced: testNow}
	lately := testNow.Add(rotationWindow / 2)
	signed, unsigned := testPeer("n1", "11"), testPeer("n2", "12")
	signed.Record = Record{Sequence: 5, Start: 5}
	in.Affiliates = []Affiliate{signed, unsigned}
	for _, a := range in.Affiliates {
		in.Stats = append(in.Stats, PeerStats{PublicKey: a.PublicKey, LastHandshakeTime: lately, ReceiveBytes: 1})
		in.Previous = append(in.Previous, PeerStatus{PublicKey: a.PublicKey, LastHandshakeTime: lately})
	}
	return in
}

func TestRotationSteps(t *testing.T) {
	prepare := func(in *Input) {
		in.Affiliates[0].Record.Prepared = []KeyTag{testKey("x").Tag(), testKey("next").Tag()}
	}
	const second = time.Second
	for name, tc := range map[string]struct {
		change     func(*Input)
		at         time.Duration
		want       RotationStep
		unprepared []string
	}{
		"off":                       {func(in *Input) { in.Rotation = Rotation{} }, 0, RotationNone, nil},
		"not due yet":               {func(in *Input) { in.Rotation = Rotation{Due: testNow.Add(second)} }, 0, RotationNone, nil},
		"due":                       {func(in *Input) { in.Rotation = Rotation{Due: testNow} }, 0, RotationBegin, nil},
		"discovery has not shown":   {func(in *Input) { prepare(in); in.Rotation.Announced = time.Time{} }, time.Hour, RotationNone, nil},
		"a peer is not prepared":    {func(*Input) {}, rotationWindow - 1, RotationNone, nil},
		"it has had enough time":    {func(*Input) {}, rotationWindow, RotationSwitch, []string{"n1", "n2"}},
		"all that can are prepared": {prepare, 0, RotationSwitch, []string{"n2"}},
		"a peer without a session": {func(in *Input) {
			in.Stats[0].LastHandshakeTime = testNow.Add(-time.Hour)
		}, 0, RotationSwitch, []string{"n2"}},
		"a lower node id is about to change": {func(in *Input) {
			prepare(in)
			in.Self.NodeID, in.Affiliates[0].Record.NextKey = "zz", testKey("theirs")
		}, 0, RotationNone, nil},
		"a higher one waits": {func(in *Input) {
			prepare(in)
			in.Self.NodeID, in.Affiliates[0].Record.NextKey = "a", testKey("theirs")
		}, 0, RotationSwitch, []string{"n2"}},
		"a higher one has changed": {func(in *Input) {
			prepare(in)
			in.Self.NodeID, in.Affiliates[0].Record.NextKey = "a", testKey("theirs")
			in.Stats = append(in.Stats, PeerStats{PublicKey: testKey("theirs"), ReceiveBytes: 148})
		}, 0, RotationNone, nil},
		"the last change is not announced": {func(in *Input) {
			prepare(in)
			in.Rotation.Former, in.Rotation.Switched = testKey("former"), testNow
		}, 0, RotationNone, nil},
	} {
		in := rotationInput()
		tc.change(&in)
		plan := Decide(in, testNow.Add(tc.at))
		if plan.Rotation != tc.want || !slices.Equal(plan.Unprepared, tc.unprepared) {
			t.Errorf("%s: step %d, unprepared %q; want %d, %q", name, plan.Rotation, plan.Unprepared, tc.want, tc.unprepared)
		}
	}
}

// The loop is told when to decide again.
func TestRotationWakes(t *testing.T) {
	in := rotationInput()
	in.Rotation = Rotation{Due: testNow.Add(time.Second)}
	if got := Decide(in, testNow).Wake; !got.Equal(in.Rotation.Due) {
		t.Errorf("wakes at %v, want when the change is due", got)
	}
	in = rotationInput()
	if got, want := Decide(in, testNow.Add(rotationWindow-time.Second)).Wake, testNow.Add(rotationWindow); !got.Equal(want) {
		t.Errorf("wakes at %v, want at the window's end", got)
	}
}

// The new key is announced as the next one until those that are prepared have answered.
func TestNewKeyIsAnnounced(t *testing.T) {
	in := rotationInput()
	in.Rotation = Rotation{Former: testKey("former"), Switched: testNow.Add(rotationWindow)}
	in.Affiliates[0].Record.Prepared = []KeyTag{in.Self.PublicKey.Tag()}
	in.Affiliates[1].Record = Record{Sequence: 5, Start: 5, NextKey: testKey("theirs")}
	check := func(what string, at time.Duration, announced, next Key, prepared int) {
		t.Helper()
		l := Decide(in, testNow.Add(at)).Local
		if l.PublicKey != announced || l.Record.NextKey != next || len(l.Record.Prepared) != prepared {
			t.Errorf("%s: announces %v, next %v, %d tags", what, l.PublicKey, l.Record.NextKey, len(l.Record.Prepared))
		}
	}
	check("no answer", rotationWindow, testKey("former"), in.Self.PublicKey, 0)
	check("no answer for long", rotationWindow+answerWindow, in.Self.PublicKey, Key{}, 1)
	in.Stats[0].LastHandshakeTime = testNow.Add(rotationWindow + 1)
	check("answered", rotationWindow+1, in.Self.PublicKey, Key{}, 1)
}

// The device has a peer for the next key, which gets the networks when it has called. When
// the record names it, nothing changes but that the old peer goes.
func TestPeerChangesKey(t *testing.T) {
	in := rotationInput()
	in.Rotation = Rotation{}
	in.Affiliates, in.Stats = in.Affiliates[:1], in.Stats[:1]
	old, next := in.Affiliates[0].PublicKey, testKey("theirs")
	in.Affiliates[0].Record.NextKey = next
	in.Affiliates[0].Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}
	now := testNow.Add(time.Minute)
	decide := func(what string, want map[Key]PeerConfig) {
		t.Helper()
		now = now.Add(time.Second)
		plan := Decide(in, now)
		in.Previous, in.Known, in.Pins = plan.Statuses, plan.Known, plan.Pins
		if len(plan.Statuses) != 1 || plan.Statuses[0].State != PeerStateUp || len(plan.Conditions) != 0 {
			t.Errorf("%s: %+v, conditions %v", what, plan.Statuses, plan.Conditions)
		}
		if len(plan.Peers) != len(want) {
			t.Errorf("%s: %d peers, want %d", what, len(plan.Peers), len(want))
		}
		for _, p := range plan.Peers {
			w := want[p.PublicKey]
			if p.Standby != w.Standby || p.PersistentKeepalive != w.PersistentKeepalive || (len(p.AllowedIPs) > 0) != (w.PersistentKeepalive > 0) || p.PresharedKey != in.Config.ClusterSecret {
				t.Errorf("%s: peer %+v", what, p)
			}
		}
	}
	in.Previous = []PeerStatus{{PublicKey: old, LastUsedEndpoint: in.Affiliates[0].Endpoints[0]}}
	in.Stats[0].LastHandshakeTime = testNow.Add(time.Minute)
	in.Stats[0].Endpoint = in.Affiliates[0].Endpoints[0]
	routing := PeerConfig{PersistentKeepalive: PersistentKeepalive}
	decide("announced", map[Key]PeerConfig{old: routing, next: {Standby: true}})
	in.Stats = append(in.Stats, PeerStats{PublicKey: next})
	decide("on standby", map[Key]PeerConfig{old: routing, next: {Standby: true}})
	in.Stats[1].ReceiveBytes, in.Stats[1].Endpoint = 148, in.Stats[0].Endpoint
	decide("has called", map[Key]PeerConfig{old: {}, next: routing})
	in.Affiliates[0].PublicKey, in.Affiliates[0].Record = next, Record{Sequence: 6, Start: 5}
	decide("named by the record", map[Key]PeerConfig{next: routing})
	in.Stats = []PeerStats{{PublicKey: next, ReceiveBytes: 180, Endpoint: in.Stats[0].Endpoint, LastHandshakeTime: now}}
	decide("has a session", map[Key]PeerConfig{next: routing})
}

// A next key that another node has is not used.
func TestNextKeysOfOthers(t *testing.T) {
	for name, next := range map[string]Key{
		"this node's": testInput().Self.PublicKey, "this node's next": testKey("next"), "another peer's": testPeer("n2", "12").PublicKey,
		"its own": testPeer("n1", "11").PublicKey, "none": {},
	} {
		in := rotationInput()
		in.Affiliates[0].Record.NextKey = next
		if plan := Decide(in, testNow); len(plan.Peers) != 2 || len(plan.Local.Record.Prepared) != 0 {
			t.Errorf("%s: %d peers, tags %v", name, len(plan.Peers), plan.Local.Record.Prepared)
		}
	}
	in := rotationInput()
	in.Affiliates = nil
	for i := range maxPrepared + 1 {
		a := testPeer(string(rune('a'+i)), fmt.Sprint(20+i))
		a.Record = Record{Sequence: 1, Start: 1, NextKey: testKey("next of " + a.NodeID)}
		in.Affiliates = append(in.Affiliates, a)
	}
	if plan := Decide(in, testNow); len(plan.Local.Record.Prepared) != maxPrepared {
		t.Errorf("prepared for %d", len(plan.Local.Record.Prepared))
	}
}

func TestRotationDue(t *testing.T) {
	const every = 720 * time.Hour
	a, b := RotationDue("n1", testNow, every), RotationDue("n2", testNow, every)
	for _, due := range []time.Time{a, b} {
		if after := due.Sub(testNow); after < every || after >= every+every/10 {
			t.Errorf("due after %v", after)
		}
	}
	if a.Equal(b) {
		t.Error("two nodes are due at the same time")
	}
}

// The announced next key of a node belongs to it. Nobody cuts it off with that, and it does
// not change to a key that another node announces.
func TestNextKeyClaimedByAnother(t *testing.T) {
	for _, seeds := range [][2]byte{{1, 2}, {2, 1}} {
		victim, evil := realPeer("victim", "11", seeds[0]), realPeer("evil", "12", seeds[1])
		tr := newTrial(t)
		tr.handshake(victim, "192.0.2.1:51820")
		tr.decide(0, victim, evil)
		next := testKey("next of victim")
		victim.Record.Sequence++
		victim.Record.NextKey = next
		tr.decide(time.Second, victim, evil)
		for _, claim := range []func(*Affiliate){
			func(a *Affiliate) { a.Record.NextKey = next },
			func(a *Affiliate) { a.PublicKey, a.Record.NextKey = next, Key{} },
		} {
			evil.Record.Sequence++
			claim(&evil)
			if plan := tr.decide(time.Second, victim, evil); len(plan.Local.Record.Prepared) != 1 {
				t.Errorf("seeds %v: not prepared for the victim's key; conditions %v", seeds, plan.Conditions)
			}
		}
		victim.Record.Sequence++
		victim.PublicKey, victim.Record.NextKey = next, Key{}
		plan := tr.decide(time.Second, victim, evil)
		if len(plan.Specs) != 1 || plan.Specs[0].NodeID != victim.NodeID {
			t.Errorf("seeds %v: peers %+v", seeds, plan.Specs)
		}
	}
	in := rotationInput()
	in.Affiliates[0].PublicKey = in.Rotation.Next
	for after, want := range map[time.Duration]RotationStep{rotationWindow - 1: RotationNone, rotationWindow: RotationBegin} {
		if plan := Decide(in, in.Rotation.Announced.Add(after)); plan.Rotation != want {
			t.Errorf("a key that another node has: after %v step %v, want %v", after, plan.Rotation, want)
		}
	}
}
