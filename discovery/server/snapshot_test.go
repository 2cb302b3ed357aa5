package server

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wirespan/wirespan/discovery"
)

func encode(t testing.TB, clusters []clusterSnapshot) []byte {
	t.Helper()
	var buf bytes.Buffer
	size, err := writeSnapshot(&buf, clusters)
	if err != nil || size != buf.Len() {
		t.Fatalf("wrote %d bytes, says %d: %v", buf.Len(), size, err)
	}
	return buf.Bytes()
}

// The bytes of the format, derived by hand: files of other servers must load, too.
func TestSnapshotFormat(t *testing.T) {
	const file = "0a 21" + // StateSnapshot.clusters
		"0a 01 63" + // id "c"
		"12 1c" + // affiliates
		"0a 01 61" + // id "a"
		"1a 01 78" + // data "x"
		"22 0e" + "12 01 70" + "1a 03 08 88 0e" + "0a 04 08 01 10 02" + // endpoint "p", ttl 1800 s, old expiration
		"2a 02 08 3c" + // ttl 60 s
		"30 01" // an unknown field
	b, err := hex.DecodeString(strings.ReplaceAll(file, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseSnapshot(b, t0)
	if err != nil {
		t.Fatal(err)
	}
	want := []clusterSnapshot{{"c", []affiliateSnapshot{{
		id: "a", data: []byte("x"), ttl: minute,
		endpoints: []endpointSnapshot{{[]byte("p"), 30 * minute}},
	}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	const ours = "0a19" + "0a0163" + "1214" + "0a0161" + "1a0178" +
		"2208" + "120170" + "1a0308880e" + "2a02083c"
	if got := hex.EncodeToString(encode(t, want)); got != ours {
		t.Errorf("encoded as %s, want %s", got, ours)
	}
	if again, err := parseSnapshot(encode(t, want), t0); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// The remaining life in a file: old files have expiration, new ones have ttl, and
// ttl has precedence.
func TestSnapshotLife(t *testing.T) {
	timestamp := func(at time.Time) []byte {
		return appendVarint(appendVarint(nil, 1, uint64(at.Unix())), 2, uint64(at.Nanosecond()))
	}
	duration := func(seconds int64) []byte { return appendVarint(nil, 1, uint64(seconds)) }
	for _, tc := range []struct {
		name            string
		expiration, ttl []byte
		want            time.Duration
	}{
		{"old", timestamp(t0.Add(minute)), nil, minute},
		{"old, with a fraction", timestamp(t0.Add(minute + time.Millisecond)), nil, minute + time.Millisecond},
		{"old, expired", timestamp(t0.Add(-minute)), nil, 0},
		{"old, too long", timestamp(t0.Add(time.Hour)), nil, discovery.MaxTTL},
		{"old, absurd", appendVarint(nil, 1, 1<<62), nil, discovery.MaxTTL},
		{"old, before all time", appendVarint(nil, 1, 1<<63), nil, 0},
		{"new", nil, duration(60), minute},
		{"new wins", timestamp(t0.Add(2 * minute)), duration(60), minute},
		{"new, nothing left, wins", timestamp(t0.Add(2 * minute)), []byte{}, 0},
		{"new, too long", nil, duration(3600), discovery.MaxTTL},
		{"new, absurd", nil, duration(1 << 62), discovery.MaxTTL},
		{"neither", nil, nil, 0},
	} {
		for _, newFirst := range []bool{false, true} {
			msg := appendBytes(nil, 1, []byte("a"))
			write := func(num protowire.Number, v []byte) {
				if v != nil {
					msg = appendBytes(msg, num, v)
				}
			}
			if newFirst {
				write(5, tc.ttl)
				write(2, tc.expiration)
			} else {
				write(2, tc.expiration)
				write(5, tc.ttl)
			}
			a, err := parseAffiliate(msg, t0)
			if err != nil || a.ttl != tc.want {
				t.Errorf("%s, new first %v: %v, %v, want %v", tc.name, newFirst, a.ttl, err, tc.want)
			}
		}
	}
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func TestBrokenSnapshots(t *testing.T) {
	affiliate := func(b []byte) []byte {
		return appendBytes(nil, 1, appendBytes(appendBytes(nil, 1, []byte("c")), 2, b))
	}
	id := appendBytes(nil, 1, []byte("a"))
	for name, b := range map[string][]byte{
		"text":               []byte("hello, world"),
		"cut off":            affiliate(id)[:5],
		"no cluster id":      appendBytes(nil, 1, nil),
		"long cluster id":    appendBytes(nil, 1, appendBytes(nil, 1, make([]byte, 257))),
		"cluster id no text": appendBytes(nil, 1, appendBytes(nil, 1, []byte{0xff})),
		"no affiliate id":    affiliate(nil),
		"long data":          affiliate(appendBytes(id, 3, make([]byte, 2049))),
		"long endpoint":      affiliate(appendBytes(id, 4, appendBytes(nil, 2, make([]byte, 33)))),
		"broken ttl":         affiliate(appendBytes(id, 5, []byte{0xff})),
		"broken endpoint":    affiliate(appendBytes(id, 4, []byte{0xff})),
		"broken expiration":  affiliate(appendBytes(id, 4, appendBytes(nil, 1, []byte{0xff}))),
	} {
		if got, err := parseSnapshot(b, t0); err == nil {
			t.Errorf("%s: loaded as %+v", name, got)
		}
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	m := newTestMemory("")
	for c := range 3 {
		for a := range 4 {
			u := *put(fmt.Sprint("data", a), time.Duration(a)*minute, "p", "q")
			u.Cluster, u.Affiliate = fmt.Sprint("c", c), fmt.Sprint("a", a)
			mustUpdateAt(t, m, u, t0)
		}
	}
	// a0 has expired. a1 has lost half a minute, and its life is rounded.
	saved := t0.Add(30*time.Second + time.Millisecond)
	clusters, err := parseSnapshot(encode(t, m.snapshot(saved)), saved)
	if err != nil {
		t.Fatal(err)
	}
	restored := newTestMemory("")
	restored.restore(clusters, new(only), t0)
	const want = "a1=data1[p@29s q@29s]@29s a2=data2[p@1m29s q@1m29s]@1m29s a3=data3[p@2m29s q@2m29s]@2m29s"
	for c := range 3 {
		if got := restored.clusters[fmt.Sprint("c", c)].dump(); got != want {
			t.Errorf("c%d: %s, want %s", c, got, want)
		}
	}
	if got := restored.counts(); got != (counts{clusters: 3, affiliates: 9, endpoints: 18}) {
		t.Errorf("counts %+v", got)
	}
	one := newTestMemory("c1")
	one.restore(clusters, serving("c1"), t0)
	if got := one.counts(); got != (counts{clusters: 1, affiliates: 3, endpoints: 6}) {
		t.Errorf("only c1: %+v", got)
	}
}

func TestRestoreKeepsBounds(t *testing.T) {
	cs := clusterSnapshot{id: "c"}
	for i := range discovery.MaxAffiliates + 5 {
		a := affiliateSnapshot{id: fmt.Sprint(i), ttl: minute}
		for j := range discovery.MaxEndpoints + 5 {
			a.endpoints = append(a.endpoints, endpointSnapshot{fmt.Append(nil, j), minute})
		}
		cs.affiliates = append(cs.affiliates, a)
	}
	m := newTestMemory("")
	m.restore([]clusterSnapshot{cs, cs, {id: "empty"}, {"expired", []affiliateSnapshot{{id: "a"}}}}, new(only), t0)
	want := counts{clusters: 1, affiliates: discovery.MaxAffiliates, endpoints: discovery.MaxAffiliates * discovery.MaxEndpoints}
	if got := m.counts(); got != want {
		t.Errorf("restored %+v, want %+v", got, want)
	}
}

func TestSnapshotSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "state.binpb")
	cfg := Config{SnapshotPath: path}
	r := start(t, cfg)
	if _, err := r.client.AffiliateUpdate(t.Context(), update("c", "a")); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}

	r = start(t, cfg)
	_, first := watch(t, r.client, "c")
	if len(first.GetAffiliates()) != 1 || string(first.GetAffiliates()[0].GetData()) != "x" {
		t.Errorf("after a restart: %v", first)
	}
	// Deleted, saved, restarted: the old file does not bring the member back.
	if err := r.memory.Delete(t.Context(), "c", "a"); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	if _, first := watch(t, r.client, "c"); len(first.GetAffiliates()) != 0 {
		t.Errorf("a deleted member came back: %v", first)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v", entries, err)
	}
}

func TestBrokenSnapshotIsKeptAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, Config{SnapshotPath: path})
	if _, err := r.client.AffiliateUpdate(t.Context(), update("c", "a")); err != nil {
		t.Error(err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path + ".broken"); err != nil || string(b) != "precious" {
		t.Errorf("renamed file: %q, %v", b, err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("a")) {
		t.Errorf("new snapshot: %q, %v", b, err)
	}
}

func TestUnusableSnapshotPath(t *testing.T) {
	srv, err := New(Config{SnapshotPath: t.TempDir()}) // a directory
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.load(t0); err == nil || !strings.HasPrefix(err.Error(), "reading discovery snapshot: ") {
		t.Errorf("load: %v", err)
	}
	if err := srv.save(t0); err == nil || !strings.HasPrefix(err.Error(), "saving discovery snapshot: ") {
		t.Errorf("save: %v", err)
	}
}

func FuzzLoadSnapshot(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("hello"))
	f.Add(encode(f, []clusterSnapshot{{"c", []affiliateSnapshot{{
		id: "a", data: []byte("x"), ttl: minute, endpoints: []endpointSnapshot{{[]byte("p"), minute}},
	}}}}))
	f.Add(appendBytes(nil, 1, appendBytes(appendBytes(nil, 1, []byte("c")), 2,
		appendBytes(appendBytes(nil, 1, []byte("a")), 2, appendVarint(nil, 1, 1<<63)))))
	f.Fuzz(func(t *testing.T, b []byte) {
		clusters, err := parseSnapshot(b, t0)
		if err != nil {
			return
		}
		m := newTestMemory("")
		m.restore(clusters, new(only), t0)
		for id, c := range m.clusters {
			if c.empty() || len(id) > discovery.MaxClusterIDLength || !validID(id) {
				t.Errorf("cluster %q restored", id)
			}
			for id, a := range c.affiliates {
				left := a.expiry.Sub(t0)
				if left <= 0 || left > discovery.MaxTTL || len(id) > discovery.MaxAffiliateIDLength || !validID(id) {
					t.Errorf("affiliate %q restored for %v", id, left)
				}
			}
		}
		// A loaded snapshot is saved and loaded again without change.
		saved := m.snapshot(t0)
		again, err := parseSnapshot(encode(t, saved), t0)
		if err != nil {
			t.Fatal(err)
		}
		twice := newTestMemory("")
		twice.restore(again, new(only), t0)
		for _, c := range saved {
			if got, want := len(twice.clusters[c.id].affiliates), len(c.affiliates); got != want {
				t.Errorf("cluster %q has %d affiliates, want %d", c.id, got, want)
			}
		}
	})
}
