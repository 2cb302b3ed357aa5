package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// namesOf returns the names of the plan of an input.
func namesOf(in Input) *Names {
	p := Decide(in, testNow)
	return NewNames("", in.Self, &p)
}

// up gives a peer a session.
func (in *Input) up(a Affiliate) {
	in.Stats = append(in.Stats, PeerStats{PublicKey: a.PublicKey, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), LastHandshakeTime: testNow})
}

func addrsText(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

func TestNames(t *testing.T) {
	in := testInput()
	db := testPeer("db", "2")
	db.NodeID = "AbC9"
	db.Addresses = addrs("10.9.0.2 10.9.0.3 2001:db8::2")
	long := testPeer("long", "3")
	long.Nodename = strings.Repeat("x", 64)
	dotted := testPeer("dotted", "4")
	dotted.Nodename = "web.example.com"
	unnamed := testPeer("unnamed", "5")
	unnamed.Nodename = ""
	down := testPeer("down", "6")
	down.Addresses = addrs("10.9.0.6")
	zone := testPeer("zone", "7")
	zone.Nodename = "abc9.id"
	odd := testPeer("odd", "8")
	odd.Nodename, odd.NodeID = "-x", "odd id"
	outside := testPeer("outside", "9")
	outside.Address = netip.MustParseAddr("fd01::9")
	local := testPeer("localhost", "a")
	under := testPeer("under", "b")
	under.Nodename = "a_b"
	in.Affiliates = []Affiliate{db, long, dotted, unnamed, down, zone, odd, outside, local, under}
	in.up(db)
	n := namesOf(in)

	const none, empty = "none", ""
	for name, want := range map[string]string{
		"db.mesh":         "fd00:0:0:2::2 10.9.0.2 10.9.0.3",
		"DB.Mesh.":        "fd00:0:0:2::2 10.9.0.2 10.9.0.3",
		"AbC9.id.mesh":    "fd00:0:0:2::2 10.9.0.2 10.9.0.3",
		"abc9.ID.mesh":    "fd00:0:0:2::2 10.9.0.2 10.9.0.3", // the node named like this has no DNS name
		"self.mesh":       "fd00:0:0:2::1 172.20.2.1",
		"n0.id.mesh":      "fd00:0:0:2::1 172.20.2.1",
		"long.id.mesh":    "fd00:0:0:2::3",
		"unnamed.id.mesh": "fd00:0:0:2::5",
		"zone.id.mesh":    "fd00:0:0:2::7",
		"a_b.mesh":        "fd00:0:0:2::b",
		"localhost.mesh":  "fd00:0:0:2::a",

		"web.example.com.mesh": "fd00:0:0:2::4",
		"example.com.mesh":     empty,
		"com.mesh":             empty,
		"id.mesh":              empty,
		"mesh":                 empty,
		"mesh.":                empty,

		"down.mesh":             "fd00:0:0:2::6", // its IPv4 address is not routed to it
		"unnamed.mesh":          none,
		"zone.mesh":             none,
		"-x.mesh":               none,
		"odd id.id.mesh":        none,
		"outside.mesh":          none,
		"x.db.mesh":             none,
		long.Nodename + ".mesh": none,
		".mesh":                 none,
		"db..mesh":              none,
		"db.mesh..":             none,
		"xmesh":                 none,
		"db":                    none,
		"":                      none,
		".":                     none,
		"db.mesh.org":           none,
		"db.me\u017fh":          none, // folds to "s" in Unicode
	} {
		addrs, ok := n.Lookup(name)
		got := addrsText(addrs)
		if !ok {
			got = none
		}
		if got != want {
			t.Errorf("Lookup(%q) = %q, want %q", name, got, want)
		}
	}

	for host, want := range map[string]string{
		"db": "fd00:0:0:2::2 10.9.0.2 10.9.0.3", "DB": "fd00:0:0:2::2 10.9.0.2 10.9.0.3", "db.mesh": "fd00:0:0:2::2 10.9.0.2 10.9.0.3",
		"gone.mesh": empty, "id.mesh": empty, "web.example.com": none, "web": none, "localhost": none, "id": none, "mesh": empty, "db.": none, "": none,
	} {
		addrs, ours := n.Search(host)
		got := addrsText(addrs)
		if !ours {
			got = none
		}
		if got != want {
			t.Errorf("Search(%q) = %q, want %q", host, got, want)
		}
	}

	for addr, want := range map[string]string{
		"fd00:0:0:2::2": "db.mesh", "10.9.0.2": "db.mesh", "::ffff:10.9.0.3": "db.mesh", "fd00:0:0:2::3": "long.id.mesh",
		"fd00:0:0:2::1": "self.mesh", "fd00:0:0:2::8": "", "fd00:0:0:2::ff": "", "10.9.0.6": "", "2001:db8::2": "",
	} {
		if got := n.Reverse(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Reverse(%s) = %q, want %q", addr, got, want)
		}
	}
	if got := n.Of(db.Address); !slices.Equal(got, []string{"db.mesh", "AbC9.id.mesh"}) {
		t.Errorf("names of db: %q", got)
	}
	if n.Domain() != "mesh" || n.Subnet() != testSubnet {
		t.Errorf("domain %q, subnet %v", n.Domain(), n.Subnet())
	}
}

// TestNamesOwner: a DNS name leads to who owns the nodename, or to nobody.
func TestNamesOwner(t *testing.T) {
	const none = "none"
	pin := func(a Affiliate, age time.Duration) Pin {
		return Pin{NodeID: a.NodeID, PublicKey: a.PublicKey, Address: a.Address, Nodename: a.Nodename, FirstSeen: testNow.Add(-age), LastSeen: testNow}
	}
	twin := func(id, nodename, suffix string) Affiliate {
		a := testPeer(id, suffix)
		a.Nodename = nodename
		return a
	}
	lower, upper := twin("b", "db", "2"), twin("a", "DB", "3")
	for _, test := range []struct {
		name string
		in   func(*Input)
		want map[string]string
	}{
		{"duplicate", func(in *Input) {
			in.Pins = []Pin{pin(lower, time.Hour)}
			in.Affiliates = []Affiliate{lower, twin("a", "db", "3")}
		}, map[string]string{"db": "2", "a.id": "3", "b.id": "2"}},
		{"owner not there", func(in *Input) {
			in.Pins = []Pin{pin(lower, time.Hour)}
			in.Affiliates = []Affiliate{twin("a", "db", "3")}
		}, map[string]string{"db": none, "a.id": "3", "b.id": none}},
		{"other case, later", func(in *Input) {
			in.Pins = []Pin{pin(lower, time.Hour), pin(upper, time.Minute)}
			in.Affiliates = []Affiliate{lower, upper}
		}, map[string]string{"db": "2", "DB": "2"}},
		{"other case, earlier", func(in *Input) {
			in.Pins = []Pin{pin(lower, time.Minute), pin(upper, time.Hour)}
			in.Affiliates = []Affiliate{lower, upper}
		}, map[string]string{"db": "3"}},
		{"other case, owner not there", func(in *Input) {
			in.Pins = []Pin{pin(lower, time.Hour)}
			in.Affiliates = []Affiliate{upper}
		}, map[string]string{"db": none}},
		{"other case, strangers", func(in *Input) {
			in.Affiliates = []Affiliate{lower, upper}
		}, map[string]string{"db": "3"}}, // the lower node id
		{"other case than this node's", func(in *Input) {
			self := twin("a", "SELF", "3")
			in.Pins = []Pin{pin(self, time.Hour)}
			in.Affiliates = []Affiliate{self}
		}, map[string]string{"self": "1"}},
		{"this node's is another's", func(in *Input) {
			self := twin("a", "self", "3")
			in.Pins = []Pin{pin(self, time.Hour)}
			in.Affiliates = []Affiliate{self}
		}, map[string]string{"self": "3", "n0.id": "1"}},
		{"owner without an address", func(in *Input) {
			bare := lower
			bare.Address = netip.Addr{}
			in.Pins = []Pin{pin(bare, time.Hour)}
			in.Affiliates = []Affiliate{bare, upper}
		}, map[string]string{"db": none, "b.id": none}},
		{"node ids but for case", func(in *Input) {
			in.Affiliates = []Affiliate{twin("aXy", "x", "2"), twin("axY", "y", "3"), twin("axy", "z", "4")}
		}, map[string]string{"aXy.id": "2", "axY.id": "3", "axy.id": "4", "AXY.id": none}},
		{"parent of another", func(in *Input) {
			in.Affiliates = []Affiliate{twin("a", "x.db", "2"), lower}
			in.Affiliates[1].Address = netip.MustParseAddr("fd00:0:0:2::3")
		}, map[string]string{"x.db": "2", "db": "3"}},
		{"id as a nodename", func(in *Input) {
			in.Affiliates = []Affiliate{twin("a", "id", "2")}
		}, map[string]string{"id": "2", "a.id": "2"}},
		{"not meshing", func(in *Input) {
			in.Config.Enabled = false
			in.Affiliates = []Affiliate{lower}
		}, map[string]string{"db": none, "n0.id": "1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := testInput()
			test.in(&in)
			n := namesOf(in)
			for name, suffix := range test.want {
				got, want := none, none
				if addrs, ok := n.Lookup(name + ".mesh"); ok {
					got = addrs[0].String()
				}
				if suffix != none {
					want = "fd00:0:0:2::" + suffix
				}
				if got != want {
					t.Errorf("Lookup(%s.mesh) = %s, want %s", name, got, want)
				}
			}
		})
	}
}

func TestNamesDomain(t *testing.T) {
	in := testInput()
	p := Decide(in, testNow)
	n := NewNames("mesh.example.com", in.Self, &p)
	if got, ok := n.Lookup("self.MESH.example.com."); !ok || got[0] != in.Self.Address {
		t.Errorf("Lookup = %v, %v", got, ok)
	}
	if _, ok := n.Lookup("self.mesh"); ok {
		t.Error("the default domain is answered, too")
	}
	if got := n.Reverse(in.Self.Address); got != "self.mesh.example.com" {
		t.Errorf("Reverse = %q", got)
	}
}

// FuzzNames: whatever nodes are called, a name leads to a node that has the name, and names
// that the server gives out are found again.
func FuzzNames(f *testing.F) {
	f.Add("db", "DB", "AbC", "abc", "db.mesh")
	f.Add("a.b", "b", "id", "x.id", "x.id.mesh")
	f.Add("\u212a", "k", "-", "_", "k.mesh.")
	f.Fuzz(func(t *testing.T, name1, name2, id1, id2, query string) {
		in := testInput()
		a, b := testPeer("a", "2"), testPeer("b", "3")
		a.Nodename, b.Nodename = name1, name2
		if id1 != id2 && id1 != "" && id2 != "" && id1 != "n0" && id2 != "n0" {
			a.NodeID, b.NodeID = id1, id2
		}
		in.Affiliates = []Affiliate{a, b}
		n := namesOf(in)
		for _, d := range []Affiliate{a, b} {
			for _, name := range n.Of(d.Address) {
				if got, ok := n.Lookup(name); !ok || len(got) == 0 || got[0] != d.Address {
					t.Fatalf("Lookup(%q) = %v, %v, want %v", name, got, ok, d.Address)
				}
				if len(name) > maxDNSName {
					t.Fatalf("a name of %d characters", len(name))
				}
			}
		}
		got, ok := n.Lookup(query)
		if ok && !strings.HasSuffix(foldASCII(strings.TrimSuffix(query, ".")), "mesh") {
			t.Fatalf("Lookup(%q) = %v", query, got)
		}
		if len(got) > 0 {
			want := strings.TrimSuffix(query, ".")
			if !slices.ContainsFunc(n.Of(got[0]), func(name string) bool { return foldASCII(name) == foldASCII(want) }) {
				t.Fatalf("Lookup(%q) = %v, which is called %q", query, got, n.Of(got[0]))
			}
		}
	})
}

// names1000 is a mesh of a thousand peers, each with an IPv4 address.
func names1000() (Input, Plan) {
	in := testInput()
	for i := range 1000 {
		a := testPeer(fmt.Sprintf("node-%04d", i), fmt.Sprintf("1:%x", i))
		a.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})}
		in.Affiliates = append(in.Affiliates, a)
		in.up(a)
	}
	p := Decide(in, testNow)
	return in, p
}

func BenchmarkNewNames(b *testing.B) {
	in, p := names1000()
	b.ReportAllocs()
	for b.Loop() {
		NewNames("", in.Self, &p)
	}
}

func TestNamesAllocations(t *testing.T) {
	in, p := names1000()
	n := NewNames("", in.Self, &p)
	if got := testing.AllocsPerRun(100, func() { n.Lookup("node-0500.mesh.") }); got != 0 {
		t.Errorf("a lookup allocates %v times", got)
	}
}
