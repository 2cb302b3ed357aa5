package mesh

import (
	"strings"
	"testing"
	"time"
)

// again decides a second time, d later, on what the first plan left.
func again(in Input, last Plan, d time.Duration) Plan {
	in.Pins, in.Known, in.Previous = last.Pins, last.Known, last.Statuses
	return Decide(in, testNow.Add(d))
}

// wantWithheld checks that the nodename is not announced, and that a condition says why.
func wantWithheld(t *testing.T, plan Plan, node string) {
	t.Helper()
	for _, c := range plan.Conditions {
		if c.Type == ConditionNodenameWithheld && c.Subject == "self" && strings.Contains(c.Message, "node "+node+" is named") && plan.Local.Nodename == "" {
			return
		}
	}
	t.Errorf("nodename %q, conditions %+v", plan.Local.Nodename, plan.Conditions)
}

// A nodename that another node has is withheld until the conflict ends.
func TestNodenameWithheld(t *testing.T) {
	in := testInput()
	rival := testPeer("n1", "11")
	rival.Nodename = "self"
	in.Affiliates = []Affiliate{rival}
	plan := Decide(in, testNow)
	wantWithheld(t, plan, "n1")
	if ownerOfName(plan, "self") != "n1" {
		t.Errorf("the name belongs to %q", ownerOfName(plan, "self"))
	}
	plan = again(in, plan, time.Hour)
	wantWithheld(t, plan, "n1")
	in.Affiliates[0].Nodename = "n1"
	if plan = again(in, plan, 2*time.Hour); plan.Local.Nodename != "self" || len(plan.Conditions) != 0 {
		t.Errorf("after the conflict: nodename %q, conditions %+v", plan.Local.Nodename, plan.Conditions)
	}
}

// A newcomer does not take this node's name, unless it may be a Talos node: Talos would
// then lose it as a member.
func TestNodenameKept(t *testing.T) {
	in := testInput()
	first := Decide(in, testNow)
	rival := testPeer("n1", "11")
	rival.Nodename = "self"
	for _, tt := range []struct {
		name     string
		change   func(*Input, *Affiliate)
		withheld bool
	}{
		{"a stranger", func(*Input, *Affiliate) {}, false},
		{"a stranger in an own mesh", func(in *Input, _ *Affiliate) { in.Config.OwnMesh = true }, false},
		{"a control plane", func(_ *Input, a *Affiliate) { a.MachineType = MachineControlPlane }, true},
		{"the first control plane", func(_ *Input, a *Affiliate) { a.MachineType = MachineInit }, true},
		{"a Talos worker", func(_ *Input, a *Affiliate) { a.OperatingSystem = "Talos (v1.14.0)" }, true},
		{"a pretender in an own mesh", func(in *Input, a *Affiliate) {
			in.Config.OwnMesh, a.MachineType, a.OperatingSystem = true, MachineControlPlane, "Talos (v1.14.0)"
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, rival := in, rival
			tt.change(&in, &rival)
			in.Affiliates = []Affiliate{rival}
			plan := again(in, first, time.Hour)
			if tt.withheld {
				wantWithheld(t, plan, "n1")
			} else if plan.Local.Nodename != "self" {
				t.Errorf("nodename %q, conditions %+v", plan.Local.Nodename, plan.Conditions)
			}
		})
	}
}

// Two nodes start together with one name, before either sees the other. Both have a
// condition, and agree that the lower node id has it.
func TestOneNameForTwo(t *testing.T) {
	for _, own := range []bool{true, false} {
		views := map[string]Plan{}
		for _, ids := range [][2]string{{"n1", "n2"}, {"n2", "n1"}} {
			in := testInput()
			in.Config.OwnMesh, in.Self.NodeID = own, ids[0]
			alone := Decide(in, testNow)
			other := signed(testPeer(ids[1], "11"), uint64(testNow.UnixMilli())+500)
			other.Record.Start, other.Nodename = other.Record.Sequence, "self"
			in.Affiliates = []Affiliate{other}
			plan := again(in, alone, 2*time.Second)
			views[ids[0]] = again(in, plan, time.Hour)
		}
		winner, loser := views["n1"], views["n2"]
		if ownerOfName(winner, "self") != "" || winner.Local.Nodename != "self" || !hasCondition(winner, ConditionDuplicateNodename) {
			t.Errorf("own %v: the winner says that %q has the name; conditions %v", own, ownerOfName(winner, "self"), winner.Conditions)
		}
		if ownerOfName(loser, "self") != "n1" || loser.Local.Nodename != "self" || !hasCondition(loser, ConditionDuplicateNodename) {
			t.Errorf("own %v: the loser says that %q has the name; conditions %v", own, ownerOfName(loser, "self"), loser.Conditions)
		}
	}
}

// A node that starts while it sees nobody yields its name to one that ran long before,
// but one that has had its name for long yields it to nobody.
func TestNameOfTheOlder(t *testing.T) {
	in := testInput()
	in.Config.OwnMesh = true
	alone := Decide(in, testNow)
	rival := signed(testPeer("n9", "11"), uint64(testNow.UnixMilli()))
	rival.Record.Start, rival.Nodename = uint64(testNow.Add(-time.Hour).UnixMilli()), "self"
	in.Affiliates = []Affiliate{rival}
	if plan := again(in, alone, time.Second); ownerOfName(plan, "self") != "n9" {
		t.Errorf("just started: %v", plan.Conditions)
	}
	if plan := again(in, alone, time.Hour); ownerOfName(plan, "self") != "" || !hasCondition(plan, ConditionDuplicateNodename) {
		t.Errorf("long there: %v", plan.Conditions)
	}
}

// Who has no place among the members announces no nodename.
func TestNoNodename(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"mesh off":           func(in *Input) { in.Config.Enabled = false },
		"no address":         func(in *Input) { in.Self.Address = Identity{}.Address },
		"no answer yet":      func(in *Input) { in.Host.DiscoveryPending = true },
		"not to be a member": func(in *Input) { in.Config.AnnounceAsMember = false },
		"no nodename":        func(in *Input) { in.Host.Nodename = "" },
	} {
		in := testInput()
		change(&in)
		if plan := Decide(in, testNow); plan.Local.Nodename != "" || len(plan.Conditions) != 0 {
			t.Errorf("%s: nodename %q, conditions %+v", name, plan.Local.Nodename, plan.Conditions)
		}
	}
	in := testInput()
	first := Decide(in, testNow)
	in.Host.DiscoveryPending = true // it lost its service, but not its name
	if plan := again(in, first, time.Hour); plan.Local.Nodename != "self" {
		t.Errorf("later: nodename %q", plan.Local.Nodename)
	}
	in.Host.Nodename, in.Host.DiscoveryPending = "renamed", false
	if plan := again(in, first, time.Hour); plan.Local.Nodename != "renamed" {
		t.Errorf("renamed: %q", plan.Local.Nodename)
	}
}
