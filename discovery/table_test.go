package discovery

import (
	"slices"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

var tableStart = time.Unix(1e9, 0)

// listed returns entries with these ids.
func listed(ids ...string) []RawAffiliate {
	var list []RawAffiliate
	for _, id := range ids {
		list = append(list, RawAffiliate{ID: id, Data: []byte("data of " + id)})
	}
	return list
}

// openPlain opens what listed makes; other data counts as sealed with another secret.
func openPlain(raw RawAffiliate, _ Known) Opened {
	if string(raw.Data) != "data of "+raw.ID {
		return Opened{Unreadable: true}
	}
	return Opened{Affiliate: mesh.Affiliate{NodeID: raw.ID}}
}

func wantMembers(t *testing.T, tab *Table, want ...string) []Problem {
	t.Helper()
	affiliates, problems := tab.Result()
	var got []string
	for _, a := range affiliates {
		got = append(got, a.NodeID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
	if tab.Changed() {
		t.Error("Changed right after Result")
	}
	return problems
}

func TestTableAgesWhatAListingMisses(t *testing.T) {
	all := listed("self", "a", "b", "c")
	tab := NewTable("self", openPlain, time.Minute)
	tab.Replace(all, tableStart)
	wantMembers(t, tab, "a", "b", "c")
	if !tab.Next().IsZero() {
		t.Errorf("what is listed expires at %v", tab.Next())
	}

	tab.Replace(all[2:], tableStart) // without a
	if p := wantMembers(t, tab, "a", "b", "c"); len(p) != 0 {
		t.Errorf("a third is missing, and the problems are %v", p)
	}
	tab.Replace(all[3:], tableStart.Add(30*time.Second)) // without a and b: each has its own grace
	if p := wantMembers(t, tab, "a", "b", "c"); len(p) != 1 {
		t.Errorf("more than half is missing, and the problems are %v", p)
	}
	if want := tableStart.Add(time.Minute); tab.Next() != want {
		t.Errorf("Next = %v, want %v", tab.Next(), want)
	}
	tab.Advance(tab.Next().Add(-time.Nanosecond))
	if tab.Changed() {
		t.Error("an entry expired too early")
	}
	tab.Advance(tab.Next())
	wantMembers(t, tab, "b", "c")

	tab.Update(all[2:3], tableStart) // b is back
	tab.Advance(tableStart.Add(time.Hour))
	if p := wantMembers(t, tab, "b", "c"); len(p) != 0 {
		t.Errorf("all are back, and the problems are %v", p)
	}
}

func TestTableRemoveIsAtOnce(t *testing.T) {
	tab := NewTable("self", openPlain, time.Minute)
	tab.Replace(listed("a", "b"), tableStart)
	wantMembers(t, tab, "a", "b")
	tab.Remove("unknown")
	if tab.Changed() {
		t.Error("removing what is not there is a change")
	}
	tab.Remove("a")
	wantMembers(t, tab, "b")
}

func TestTableOpensNothingTwice(t *testing.T) {
	list := listed("a")
	tab := NewTable("self", openPlain, time.Minute)
	tab.Update(list, tableStart)
	wantMembers(t, tab, "a")
	tab.Update(list, tableStart)
	if tab.Changed() {
		t.Error("the same data again is a change")
	}
	tab.Update([]RawAffiliate{{ID: "b", Data: []byte("sealed by others")}}, tableStart)
	tab.Remove("a")
	if p := wantMembers(t, tab); len(p) != 1 || p[0].Reason != ReasonWrongSecret {
		t.Errorf("problems %v", p)
	}
}

// Neither garbage, nor an entry without data, nor an older record takes the place of what
// is good.
func TestTableKeepsWhatIsGood(t *testing.T) {
	type call struct {
		data  string
		known Known
	}
	var calls []call
	open := func(raw RawAffiliate, known Known) Opened {
		calls = append(calls, call{string(raw.Data), known})
		a := mesh.Affiliate{NodeID: raw.ID, Hostname: string(raw.Data), Record: mesh.Record{Sequence: uint64(len(raw.Data))}}
		if len(raw.Data) < 3 || a.Record.Sequence < known.Sequence {
			return Opened{Unreadable: true, Problems: []Problem{{raw.ID, "bad"}}}
		}
		return Opened{Affiliate: a}
	}
	tab := NewTable("self", open, time.Minute)
	for _, tc := range []struct {
		data, want string
		known      Known
	}{
		{"good", "good", Known{}},
		{"", "good", Known{4, false}},
		{"x", "good", Known{4, false}},
		{"old", "good", Known{4, false}},
		{"good", "good", Known{4, true}},
		{"newer", "newer", Known{4, false}},
	} {
		tab.Update([]RawAffiliate{{ID: "a", Data: []byte(tc.data)}}, tableStart)
		got, problems := tab.Result()
		if len(got) != 1 || got[0].Hostname != tc.want || (tc.data == tc.want) != (len(problems) == 0) {
			t.Errorf("%q: %+v, problems %v", tc.data, got, problems)
		}
		if last := calls[len(calls)-1]; last != (call{tc.data, tc.known}) {
			t.Errorf("%q: opened with %+v, want %+v", tc.data, last, tc.known)
		}
	}
}

func TestTableOwn(t *testing.T) {
	signed := func(raw RawAffiliate, _ Known) Opened {
		return Opened{Affiliate: mesh.Affiliate{NodeID: raw.ID, Record: mesh.Record{Sequence: 1}}}
	}
	tab := NewTable("self", signed, time.Minute)
	tab.Replace(listed("self", "a"), tableStart)
	if raw, a := tab.Own(); string(raw.Data) != "data of self" || a.NodeID != "self" {
		t.Errorf("own entry %v, %v", raw, a)
	}
	wantMembers(t, tab, "a")
	tab.Update(listed("self"), tableStart)
	if tab.Changed() {
		t.Error("the same entry again is a change")
	}
	tab.Remove("self")
	if raw, a := tab.Own(); raw.ID != "" || a.NodeID != "" || !tab.Changed() {
		t.Errorf("removed: %v, %v", raw, a)
	}
}

// A table tells since when the source has said what it says of a node, and when it last did.
// Where others see the node is not said by it.
func TestHeard(t *testing.T) {
	open := func(raw RawAffiliate, _ Known) Opened {
		return Opened{Affiliate: mesh.Affiliate{NodeID: raw.ID, Hostname: string(raw.Data)}}
	}
	tab := NewTable("self", open, time.Minute)
	at := func(s int) time.Time { return tableStart.Add(time.Duration(s) * time.Second) }
	heard := func() Heard {
		affiliates, _ := tab.Result()
		return tab.Heard(affiliates)[0]
	}
	tab.Replace([]RawAffiliate{{ID: "a", Data: []byte("1")}}, at(0))
	tab.Update([]RawAffiliate{{ID: "a", Data: []byte("1"), Endpoints: [][]byte{{1}}}}, at(10))
	if got := heard(); got != (Heard{Since: at(0)}) {
		t.Errorf("the same again: %+v", got)
	}
	tab.Update([]RawAffiliate{{ID: "a", Data: []byte("2")}}, at(20))
	if got := heard(); got != (Heard{Since: at(20)}) {
		t.Errorf("changed: %+v", got)
	}
	tab.Replace(nil, at(30))
	if got := heard(); got != (Heard{Since: at(20), Last: at(30)}) {
		t.Errorf("no longer listed: %+v", got)
	}
	tab.Update([]RawAffiliate{{ID: "a", Data: []byte("2")}}, at(40))
	if got := heard(); got != (Heard{Since: at(20)}) {
		t.Errorf("listed again: %+v", got)
	}
}
