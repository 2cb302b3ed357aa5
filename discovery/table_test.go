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
func openPlain(raw RawAffiliate) Opened {
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
	if !tab.NextExpiry().IsZero() {
		t.Errorf("what is listed expires at %v", tab.NextExpiry())
	}

	tab.Replace(all[2:], tableStart) // without a
	if p := wantMembers(t, tab, "a", "b", "c"); len(p) != 0 {
		t.Errorf("a third is missing, and the problems are %v", p)
	}
	tab.Replace(all[3:], tableStart.Add(30*time.Second)) // without a and b: each has its own grace
	if p := wantMembers(t, tab, "a", "b", "c"); len(p) != 1 {
		t.Errorf("more than half is missing, and the problems are %v", p)
	}
	if want := tableStart.Add(time.Minute); tab.NextExpiry() != want {
		t.Errorf("NextExpiry = %v, want %v", tab.NextExpiry(), want)
	}
	tab.Expire(tab.NextExpiry().Add(-time.Nanosecond))
	if tab.Changed() {
		t.Error("an entry expired too early")
	}
	tab.Expire(tab.NextExpiry())
	wantMembers(t, tab, "b", "c")

	tab.Update(all[2:3]) // b is back
	tab.Expire(tableStart.Add(time.Hour))
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
	tab.Update(list)
	wantMembers(t, tab, "a")
	tab.Update(list)
	if tab.Changed() {
		t.Error("the same data again is a change")
	}
	tab.Update([]RawAffiliate{{ID: "a", Data: []byte("sealed by others")}})
	if p := wantMembers(t, tab); len(p) != 1 || p[0].Reason != ReasonWrongSecret {
		t.Errorf("problems %v", p)
	}
}
