package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// files is one file in memory.
type files struct {
	data   []byte
	writes int
	err    error // of Replace
}

func (f *files) ReadAtMost(name string, limit int64) ([]byte, error) {
	if f.data == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if int64(len(f.data)) > limit {
		return nil, errors.New("too large")
	}
	return f.data, nil
}

func (f *files) Replace(_ string, data []byte) error {
	if f.err != nil {
		return f.err
	}
	f.data = data
	f.writes++
	return nil
}

func (f *files) Remove(string) error {
	f.data = nil
	return nil
}

var (
	own    = mesh.NewSecret([32]byte{1})
	secret = mesh.NewSecret([32]byte{2})
)

const cluster = "a cluster"

// entries returns some, sorted by node id.
func entries(n int) (list []discovery.Remembered) {
	for i := range n {
		list = append(list, discovery.Remembered{
			Affiliate: mesh.Affiliate{
				NodeID: mesh.NodeIDFromBytes([32]byte{0xff, byte(i >> 8), byte(i)}), Hostname: fmt.Sprint(i), MachineType: mesh.MachineUnknown, PublicKey: mesh.Key{byte(i), 1},
				Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}, Record: mesh.Record{Sequence: 5, Start: 5},
			},
			Sources: []string{"service/a", "k8s"}, Confirmed: time.Unix(1e9+int64(i), 0).UTC(),
		})
	}
	slices.SortFunc(list, func(a, b discovery.Remembered) int { return strings.Compare(a.Affiliate.NodeID, b.Affiliate.NodeID) })
	return list
}

// keep returns a file with these entries.
func keep(t *testing.T, list []discovery.Remembered) *files {
	t.Helper()
	f := &files{}
	if written, err := New(f, "cache", own).Keep(cluster, secret, list, false); !written || err != nil {
		t.Fatal(written, err)
	}
	return f
}

func TestCache(t *testing.T) {
	list := entries(3)
	list[1].Confirmed, list[2].Sources = time.Time{}, nil
	f := keep(t, list)
	got, err := New(f, "cache", own).Load(cluster, mesh.NewSecret([32]byte{9}), secret)
	if err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, list)
	}
	for _, clear := range []string{"service/a", list[0].Affiliate.NodeID, "192.0.2.1"} {
		if bytes.Contains(f.data, []byte(clear)) {
			t.Errorf("%q is in the clear", clear)
		}
	}
	if got, err := New(&files{}, "cache", own).Load(cluster, secret); len(got) != 0 || err != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
}

// Whoever lacks this node's key or the secret can neither read a file nor make one.
func TestOthersFilesAreNotUsed(t *testing.T) {
	good := keep(t, entries(2)).data
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		data    []byte
		own     mesh.Secret
		secret  mesh.Secret
		cluster string
	}{
		"another node":    {good, mesh.NewSecret([32]byte{8}), secret, cluster},
		"another secret":  {good, own, mesh.NewSecret([32]byte{8}), cluster},
		"another cluster": {good, own, secret, "another"},
		"changed":         {flipped, own, secret, cluster},
		"torn":            {good[:len(good)/2], own, secret, cluster},
		"torn early":      {good[:len(magic)+3], own, secret, cluster},
		"empty":           {[]byte{}, own, secret, cluster},
		"another file":    {[]byte(strings.Repeat("x", 100)), own, secret, cluster},
		"huge":            {make([]byte, maxSize+1), own, secret, cluster},
	} {
		f := &files{data: tc.data}
		c := New(f, "cache", tc.own)
		if got, err := c.Load(tc.cluster, tc.secret); len(got) != 0 || err == nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if written, err := c.Keep(tc.cluster, tc.secret, entries(1), false); !written || err != nil {
			t.Errorf("%s: it is not replaced: %v, %v", name, written, err)
		}
	}
}

// What the file has is not written again.
func TestWrites(t *testing.T) {
	f := keep(t, entries(2))
	c := New(f, "cache", own)
	if _, err := c.Load(cluster, secret); err != nil {
		t.Fatal(err)
	}
	same, more := entries(2), entries(3)
	same[0].Confirmed = time.Unix(2e9, 0)
	next := mesh.NewSecret([32]byte{3})
	for i, tc := range []struct {
		list    []discovery.Remembered
		secret  mesh.Secret
		refresh bool
		writes  int
	}{
		{same, secret, false, 1},
		{same, secret, true, 2},
		{more, secret, false, 3},
		{more, secret, false, 3},
		{more, next, false, 4},
		{more, next, false, 4},
		{nil, next, false, 5},
		{nil, next, false, 5},
	} {
		if _, err := c.Keep(cluster, tc.secret, tc.list, tc.refresh); err != nil || f.writes != tc.writes {
			t.Errorf("%d: %d writes, want %d; %v", i, f.writes, tc.writes, err)
		}
	}
	f.err = syscall.ENOSPC
	if written, err := c.Keep(cluster, secret, more, false); written || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk: %v, %v", written, err)
	}
	f.err = nil
	if written, err := c.Keep(cluster, secret, more, false); !written || err != nil {
		t.Errorf("and then: %v, %v", written, err)
	}
	empty := &files{}
	if written, err := New(empty, "cache", own).Keep(cluster, secret, nil, true); written || err != nil || empty.data != nil {
		t.Errorf("nothing to keep: %v, %v", written, err)
	}
	if err := c.Drop(); err != nil || f.data != nil {
		t.Errorf("dropped: %v, %d bytes", err, len(f.data))
	}
}

// The file is bounded, whatever others announce.
func TestSizeIsBounded(t *testing.T) {
	list := entries(maxEntries + 10)
	for i := range list {
		for len(list[i].Affiliate.Addresses) < 80 {
			list[i].Affiliate.Addresses = append(list[i].Affiliate.Addresses, netip.MustParseAddr("2001:db8::1"))
		}
	}
	f := keep(t, list)
	got, err := New(f, "cache", own).Load(cluster, secret)
	if err != nil || len(got) == 0 || len(got) > maxEntries || len(f.data) > maxSize {
		t.Errorf("%d entries in %d bytes: %v", len(got), len(f.data), err)
	}
}

// FuzzDecode: what passes the seal is still checked.
func FuzzDecode(f *testing.F) {
	body, times := encode(entries(3))
	f.Add(body, times)
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, body, times []byte) {
		list, err := decode(body, times)
		if err != nil {
			return
		}
		if len(list) > maxEntries {
			t.Errorf("%d entries", len(list))
		}
		once, err := decode(encode(list)) // without what is not kept
		twice, again := decode(encode(once))
		if err != nil || again != nil || !reflect.DeepEqual(once, twice) {
			t.Errorf("%v, %v\nonce  %+v\ntwice %+v", err, again, once, twice)
		}
	})
}
