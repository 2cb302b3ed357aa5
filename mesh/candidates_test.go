package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func endpoints(list ...string) (out []netip.AddrPort) {
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestCandidatesAreRanked(t *testing.T) {
	links := []Link{
		{Name: "lo", Loopback: true, Up: true, Addresses: prefixes("127.0.0.1/8")},
		{Name: "eth0", Up: true, Addresses: prefixes("172.20.2.1/24 2001:db8:1::1/64")},
		{Name: "eth1", Addresses: prefixes("172.20.9.1/24")}, // down
		{Name: "ppp0", Up: true, Addresses: prefixes("203.0.113.7/32")},
	}
	for endpoint, want := range map[string]int{
		"127.0.0.1:1":          rankOnLink,
		"172.20.2.9:1":         rankOnLink,
		"[2001:db8:1::9]:1":    rankOnLink,
		"172.20.9.9:1":         rankPrivate,
		"10.0.0.1:1":           rankPrivate,
		"[fd99::1]:1":          rankPrivate,
		"[2001:db8:2::1]:1":    rankIPv6,
		"203.0.113.7:1":        rankIPv4,
		"[2002:c000:204::1]:1": rankTransition,
		"[64:ff9b::1]:1":       rankTransition,
	} {
		if got := candidates(&Input{Host: Host{Links: links}}, &PeerSpec{Endpoints: endpoints(endpoint)}, nil); got[0].Rank != want {
			t.Errorf("%s has rank %d, want %d", endpoint, got[0].Rank, want)
		}
	}
}

// Racing, the device gets all candidates of a peer and its mesh address, and no endpoint.
func TestRacedPeer(t *testing.T) {
	in := testInput()
	in.Config.Cycle = false
	p := testPeer("a", "11")
	p.Endpoints = endpoints("172.20.2.9:1", "203.0.113.1:1")
	in.Affiliates = []Affiliate{p}
	got := Decide(in, testNow).Peers[0]
	want := []Candidate{{p.Endpoints[0], rankOnLink}, {p.Endpoints[1], rankIPv4}}
	if !got.Race || got.Endpoint.IsValid() || got.Address != p.Address || !slices.Equal(got.Candidates, want) {
		t.Errorf("%+v", got)
	}
}

func TestStateOfRacedPeer(t *testing.T) {
	trying := func(since time.Duration) PeerPath { return PeerPath{Troubled: testNow.Add(-since)} }
	for _, tt := range []struct {
		name string
		last PeerState
		path PeerPath
		want PeerState
		wake time.Duration // 0: none
	}{
		{"new", PeerStateUnknown, PeerPath{}, PeerStateUnknown, 0},
		{"trying", PeerStateUnknown, trying(14 * time.Second), PeerStateUnknown, time.Second},
		{"tried", PeerStateUnknown, trying(15 * time.Second), PeerStateDown, 0},
		{"works", PeerStateDown, PeerPath{Settled: true}, PeerStateUp, 0},
		{"in doubt", PeerStateUp, PeerPath{Settled: true, Troubled: testNow.Add(-time.Second)}, PeerStateUp, 0},
		{"lost", PeerStateUp, trying(time.Second), PeerStateUp, 14 * time.Second},
		{"lost for long", PeerStateUp, trying(time.Minute), PeerStateDown, 0},
		{"still down", PeerStateDown, trying(time.Second), PeerStateDown, 0},
	} {
		s := PeerStatus{State: tt.last, Path: &tt.path}
		if s.State = s.connectionState(testNow); s.State != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, s.State, tt.want)
		}
		var wake time.Duration
		if at := s.wake(testNow); !at.IsZero() {
			wake = at.Sub(testNow)
		}
		if wake != tt.wake {
			t.Errorf("%s: wakes in %v, want %v", tt.name, wake, tt.wake)
		}
	}
}

func TestUsableEndpoints(t *testing.T) {
	p := testPeer("a", "11")
	p.Endpoints = endpoints(
		"172.20.2.1:51820",  // this node
		"172.20.2.1:4000",   // another node on this host
		"[fe80::1]:51820",   // without a zone
		"127.0.0.1:51820",   // this host
		"0.0.0.0:51820",     // nowhere
		"224.0.0.1:51820",   // a group
		"203.0.113.1:0",     // no port
		"203.0.113.1:51820", // good
		"10.1.1.1:51820",    // good
	)
	p.Endpoints = append(p.Endpoints, netip.AddrPortFrom(testSubnet.Addr().Next(), 1))
	for _, tt := range []struct {
		name    string
		filters []Filter
		pinned  []PinnedEndpoint
		want    []netip.AddrPort
	}{
		{"all", nil, nil, endpoints("172.20.2.1:4000", "203.0.113.1:51820", "10.1.1.1:51820")},
		{"none", []Filter{}, nil, nil},
		{"filtered", []Filter{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: netip.MustParsePrefix("203.0.113.0/24")}}, nil, endpoints("10.1.1.1:51820", "203.0.113.1:51820")},
		{"another is pinned", nil, []PinnedEndpoint{{"b", netip.MustParseAddrPort("192.0.2.9:9")}}, endpoints("172.20.2.1:4000", "203.0.113.1:51820", "10.1.1.1:51820")},
		{"pinned", []Filter{}, []PinnedEndpoint{{"a", netip.MustParseAddrPort("192.0.2.9:9")}}, endpoints("192.0.2.9:9")},
	} {
		in := testInput()
		in.Config.PeerEndpointFilters, in.Config.PeerEndpoints = tt.filters, tt.pinned
		in.Affiliates = []Affiliate{p}
		if got := Decide(in, testNow).Specs[0].Endpoints; !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// withoutSelf returns what one of so many wirespan nodes knows of the others.
func withoutSelf(nodes, self int) (known roster) {
	for i := range nodes {
		if i != self {
			known.others = append(known.others, &Affiliate{NodeID: fmt.Sprint("node-", i), Record: Record{Sequence: 1}})
		}
	}
	return known
}

// However large the mesh, a node publishes for about as many peers as each has observers.
func TestHarvestIsShared(t *testing.T) {
	for _, n := range []int{3, 10, 50, 200} {
		observers := map[string]int{}
		most := 0
		for self := range n {
			in := Input{Self: Identity{NodeID: fmt.Sprint("node-", self)}}
			known := withoutSelf(n, self)
			d := newDraw(&in, &known)
			published := 0
			for _, a := range known.others {
				if d.place(a.NodeID) < maxObservers {
					observers[a.NodeID]++
					published++
				}
			}
			most = max(most, published)
		}
		for peer, count := range observers {
			if want := min(maxObservers, n-1); count != want {
				t.Errorf("%d nodes: %s has %d observers, want %d", n, peer, count, want)
			}
		}
		if limit := maxObservers * 4; most > limit {
			t.Errorf("%d nodes: one publishes for %d peers", n, most)
		}
	}
}

// What a peer announces is not published for it, but what this node has published stays.
func TestHarvestLeavesOutWhatIsAnnounced(t *testing.T) {
	in := testInput()
	in.Config.HarvestExtraEndpoints, in.Config.Cycle = true, false
	p := testPeer("a", "11")
	p.Endpoints = endpoints("203.0.113.1:51820")
	in.Affiliates = []Affiliate{p}
	seen := Endpoint{PublicKey: p.PublicKey, AffiliateID: "a", Endpoint: netip.MustParseAddrPort("203.0.113.1:51820")}
	in.Stats = []PeerStats{{PublicKey: p.PublicKey, Endpoint: seen.Endpoint, LastHandshakeTime: testNow, Path: &PeerPath{Settled: true}}}
	if got := Decide(in, testNow).Endpoints; len(got) != 0 {
		t.Errorf("published %v", got)
	}
	in.Harvested = []Endpoint{seen}
	if got := Decide(in, testNow).Endpoints; !slices.Equal(got, []Endpoint{seen}) {
		t.Errorf("published before: %v", got)
	}
	in.Harvested = nil
	in.Stats[0].Endpoint = netip.MustParseAddrPort("203.0.113.1:4000")
	if got := Decide(in, testNow).Endpoints; len(got) != 1 || got[0].Endpoint != in.Stats[0].Endpoint {
		t.Errorf("published %v for a NAT's port", got)
	}
	usable := netip.MustParseAddr("fd00::9")
	for _, at := range []netip.Addr{
		usable, p.Address, netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("169.254.0.1"), netip.MustParseAddr("127.0.0.1"),
	} {
		in.Stats[0].Endpoint = netip.AddrPortFrom(at, 51820)
		if got := Decide(in, testNow).Endpoints; len(got) > 0 != (at == usable) {
			t.Errorf("published %v for a peer that is seen at %v", got, at)
		}
	}
}

// Those who should publish where a peer is do not see it, since they are behind NATs, too.
// Others do so after a while, until one has done.
func TestHarvestFindsObservers(t *testing.T) {
	const nodes = 100
	seen := netip.MustParseAddrPort("203.0.113.1:4000")
	for _, tc := range []struct {
		announced string
		want      int // that publish it in the end, if none sees what others publish
	}{
		{"203.0.113.1:51820", nodes},
		{"192.168.0.2:51820", nodes},
		{"203.0.113.1:51820 203.0.113.1:4001", maxObservers}, // its NAT has a port for each
		{"203.0.113.1:4000", 0},
	} {
		published := map[time.Duration]int{}
		for self := range nodes {
			in := Input{Self: Identity{NodeID: fmt.Sprint("node-", self)}, Config: Config{HarvestExtraEndpoints: true}}
			known := withoutSelf(nodes, self)
			known.others = append(known.others, &Affiliate{NodeID: "peer", Record: Record{Sequence: 1}})
			specs := []PeerSpec{{NodeID: "peer", Endpoints: endpoints(strings.Fields(tc.announced)...)}}
			statuses := []PeerStatus{{State: PeerStateUp, Endpoint: seen, LastEndpointChange: testNow}}
			last := 0
			for after := time.Duration(0); after < time.Hour; {
				list, wake := harvest(&in, &known, specs, statuses, testNow.Add(after))
				published[after] += len(list)
				if len(list) < last {
					t.Errorf("node-%d publishes it no more after %v", self, after)
				}
				last = len(list)
				if wake.IsZero() {
					break
				}
				if next := wake.Sub(testNow); next <= after {
					t.Fatalf("asked for %v at %v", next, after)
				} else {
					after = next
				}
			}
		}
		if first := published[0]; first > maxObservers {
			t.Errorf("%s: %d publish it at once", tc.announced, first)
		}
		total := 0
		for _, n := range published {
			total += n
		}
		if total != tc.want {
			t.Errorf("%s: %d publish it, want %d", tc.announced, total, tc.want)
		}
	}
}
