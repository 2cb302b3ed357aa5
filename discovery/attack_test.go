package discovery

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// record returns an affiliate with a record, from which the source can be told.
func record(id string, sequence, instance uint64, endpoint string) mesh.Affiliate {
	a := mesh.Affiliate{NodeID: id, PublicKey: mesh.Key{byte(sequence)}, Hostname: endpoint, Record: mesh.Record{Sequence: sequence, Instance: instance, Start: 1}}
	if endpoint != "" {
		a.Endpoints = []netip.AddrPort{netip.MustParseAddrPort(endpoint)}
	}
	return a
}

// Sources contradict each other about a node that signs. Whatever their order and names,
// its newest record is used as it is, and nothing of another one gets into it.
func TestMergeNeverMixesRecords(t *testing.T) {
	newest := record("n", 9, 1, "192.0.2.9:1")
	newest.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")}
	older := record("n", 8, 1, "192.0.2.8:1")
	older.Nodename, older.AdditionalAddresses = "older", []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}
	unsigned := record("n", 0, 0, "192.0.2.7:1")
	unsigned.Record = mesh.Record{}
	unsigned.Nodename, unsigned.MachineType, unsigned.ControlPlanePort = "unsigned", mesh.MachineControlPlane, 6443
	left := mesh.Affiliate{NodeID: "n", Record: mesh.Record{Sequence: 7, Start: 1, Left: true}}
	clone := record("n", 9, 0, "192.0.2.6:1")
	for name, others := range map[string][]mesh.Affiliate{
		"an older record":  {older},
		"an unsigned one":  {unsigned},
		"an older leave":   {left},
		"a lower instance": {clone},
		"all of them":      {older, unsigned, left, clone},
	} {
		all := append([]mesh.Affiliate{newest}, others...)
		for first := range all { // each source comes first once
			var sets []Source
			for i := range all {
				sets = append(sets, Source{Kind: KindService, Name: fmt.Sprint(i), Affiliates: []mesh.Affiliate{all[(first+i)%len(all)]}})
			}
			if got := Merge(sets...); len(got) != 1 || !reflect.DeepEqual(got[0], newest) {
				t.Errorf("%s, from %d: %+v", name, first, got)
			}
		}
	}
	gone := left
	gone.Record.Sequence = 10
	if got := Merge(Source{Name: "a", Affiliates: []mesh.Affiliate{gone}}, Source{Name: "b", Affiliates: []mesh.Affiliate{newest}}); !got[0].Record.Left || got[0].PublicKey != (mesh.Key{}) {
		t.Errorf("a node that has left: %+v", got)
	}
}

// Of equally new records, endpoints are joined: those beside a record are unsigned. The
// others follow those of the source that comes first, and no other field changes.
func TestMergeJoinsEndpointsOfEqualRecords(t *testing.T) {
	a, b := record("n", 9, 1, "192.0.2.1:1"), record("n", 9, 1, "192.0.2.2:1")
	got := Merge(Source{Name: "b", Affiliates: []mesh.Affiliate{a}}, Source{Name: "a", Affiliates: []mesh.Affiliate{b}})
	want := a
	want.Endpoints = []netip.AddrPort{a.Endpoints[0], b.Endpoints[0]}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Made-up members with valid signatures fill the table. Who was there stays and can still
// change, and the problem is said once.
func TestSybilsDoNotDisplace(t *testing.T) {
	open := func(raw RawAffiliate, known Known) Opened {
		return Opened{Affiliate: record(raw.ID, known.Sequence+1, 1, "")}
	}
	tab := NewTable("self", open, time.Minute)
	tab.Replace(listed("real"), tableStart)
	var sybils []RawAffiliate
	for i := range 2 * MaxAffiliates {
		sybils = append(sybils, listed(fmt.Sprintf("a%05d", i))...)
	}
	tab.Update(sybils, tableStart)
	tab.Update([]RawAffiliate{{ID: "real", Data: []byte("changed")}}, tableStart)
	members, problems := tab.Result()
	if len(members) != MaxAffiliates || tab.Len() != MaxAffiliates || len(problems) != 1 || !strings.Contains(problems[0].Reason, "beyond the limit") {
		t.Errorf("%d members of %d entries, problems %v", len(members), tab.Len(), problems)
	}
	if last := members[len(members)-1]; last.NodeID != "real" || last.Record.Sequence != 2 {
		t.Errorf("the real one is %+v", last)
	}
	tab.Replace(append(sybils, listed("real")...), tableStart.Add(time.Second))
	if members, _ := tab.Result(); members[len(members)-1].NodeID != "real" {
		t.Error("a listing with the real one at its end displaced it")
	}
}

// Only the endpoints beside a record change. The record stays what it was, and its
// signature is not verified again.
func TestEndpointsBesideARecord(t *testing.T) {
	verified := 0
	open := func(raw RawAffiliate, known Known) Opened {
		if !known.Verified {
			verified++
		}
		a := record(raw.ID, 5, 1, "")
		for _, e := range raw.Endpoints {
			a.Endpoints = append(a.Endpoints, netip.MustParseAddrPort(string(e)))
		}
		return Opened{Affiliate: a}
	}
	tab := NewTable("self", open, time.Minute)
	for i := range 50 {
		tab.Update([]RawAffiliate{{ID: "n", Data: []byte("x"), Endpoints: [][]byte{fmt.Appendf(nil, "192.0.2.1:%d", i+1)}}}, tableStart)
		if members, _ := tab.Result(); len(members) != 1 || members[0].Record.Sequence != 5 || len(members[0].Endpoints) != 1 {
			t.Fatalf("members %+v", members)
		}
	}
	if verified != 1 {
		t.Errorf("verified %d times", verified)
	}
}
