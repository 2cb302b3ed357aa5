package mesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go4.org/netipx"
)

// FuzzDecide checks what must hold for any input. The fuzzer's bytes choose
// from small sets of values, so that collisions are common.
func FuzzDecide(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	f.Add([]byte{})
	for range 40 {
		seed := make([]byte, 20+rng.IntN(600))
		for i := range seed {
			seed[i] = byte(rng.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := (&chooser{data}).input()
		plan := Decide(in, testNow)
		checkInvariants(t, in, plan)

		if again := Decide(in, testNow); !reflect.DeepEqual(plan, again) {
			t.Errorf("equal inputs, plans\n%+v\n%+v", plan, again)
		}
		slices.Reverse(in.Affiliates)
		slices.Reverse(in.Stats)
		slices.Reverse(in.Previous)
		slices.Reverse(in.Pins)
		if again := Decide(in, testNow); !reflect.DeepEqual(plan, again) {
			t.Errorf("inputs in another order, plans\n%+v\n%+v", plan, again)
		}
		next := in
		next.Previous, next.Pins = plan.Statuses, plan.Pins
		checkInvariants(t, next, Decide(next, testNow.Add(EndpointTimeout)))
		if !plan.Wake.IsZero() {
			checkInvariants(t, next, Decide(next, plan.Wake))
		}
	})
}

// hostileName is what a registry that cleans nothing could hand on.
const hostileName = "evil\"; run: $(id)\n\x1b[2J\u202e'`|,]\xff"

func checkInvariants(t *testing.T, in Input, plan Plan) {
	t.Helper()
	for _, c := range plan.Conditions {
		// Quoted, the name has backslashes; whatever shows a message needs no further care.
		if !utf8.ValidString(c.Message) || strings.ContainsFunc(c.Message, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.Contains(c.Message, `evil"`) {
			t.Errorf("a name is not quoted: %q", c.Message)
		}
	}
	var all netipx.IPSetBuilder
	own := []netip.Addr{in.Self.Address}
	for _, l := range in.Host.Links {
		for _, p := range l.Addresses {
			// Another KubeSpan address on this host is that of another agent: see claimAddresses.
			if a := p.Addr().Unmap().WithZone(""); !in.Self.Subnet.Contains(a) {
				own = append(own, a)
			}
		}
	}
	if len(plan.Specs) != len(plan.Peers) || len(plan.Specs) != len(plan.Statuses) {
		t.Fatalf("%d specs, %d peers, %d statuses", len(plan.Specs), len(plan.Peers), len(plan.Statuses))
	}
	for i, p := range plan.Peers {
		if p.PublicKey != plan.Specs[i].PublicKey || p.PublicKey != plan.Statuses[i].PublicKey || p.PublicKey == in.Self.PublicKey || p.PublicKey.IsZero() ||
			i > 0 && plan.Peers[i-1].PublicKey.Compare(p.PublicKey) >= 0 {
			t.Errorf("peer %d: key %v out of order, not its own, or ours", i, p.PublicKey)
		}
		taken, err := all.Clone().IPSet()
		if err != nil {
			t.Fatal(err)
		}
		var mine netipx.IPSetBuilder
		for _, a := range p.AllowedIPs {
			if taken.OverlapsPrefix(a) {
				t.Errorf("%v is allowed to two peers", a)
			}
			if slices.ContainsFunc(own, a.Contains) {
				t.Errorf("an address of this host is routed away with %v", a)
			}
			if a.Overlaps(in.Self.Subnet) && a != hostPrefix(plan.Specs[i].Address) {
				t.Errorf("%v of the /64 is not the address of its peer, %v", a, plan.Specs[i].Address)
			}
			mine.AddPrefix(a)
			all.AddPrefix(a)
		}
		if set, err := mine.IPSet(); err != nil || !slices.Equal(set.Prefixes(), p.AllowedIPs) {
			t.Errorf("allowed IPs %v aren't minimal and sorted: %v, %v", p.AllowedIPs, set.Prefixes(), err)
		}
		if p.Endpoint.IsValid() && p.Endpoint != plan.Statuses[i].LastUsedEndpoint {
			t.Errorf("device is given %v, last used is %v", p.Endpoint, plan.Statuses[i].LastUsedEndpoint)
		}
	}
	for _, h := range plan.Held {
		all.AddPrefix(h.Prefix)
	}
	checkRouted(t, plan, &all)
	checkRoutes(t, plan)
	checkPins(t, in, plan)
	if n := len(plan.Local.Endpoints); n > MaxEndpoints {
		t.Errorf("%d endpoints announced", n)
	}
	if plan.Local.ControlPlanePort != 0 || plan.Local.MachineType != MachineWorker && plan.Local.MachineType != MachineUnknown {
		t.Errorf("announced as %s with control plane port %d", plan.Local.MachineType, plan.Local.ControlPlanePort)
	}
	if !plan.Wake.IsZero() && !plan.Wake.After(testNow) {
		t.Errorf("wake %v is not after now", plan.Wake)
	}
	if !in.Config.Enabled && (plan.Specs != nil || plan.Peers != nil || plan.Routed != nil || plan.Endpoints != nil || !plan.Wake.IsZero()) {
		t.Error("a plan with peers while disabled")
	}
}

func checkRouted(t *testing.T, plan Plan, allowed *netipx.IPSetBuilder) {
	t.Helper()
	set, err := allowed.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	var routed netipx.IPSetBuilder
	for _, p := range plan.Routed {
		if !set.ContainsPrefix(p) {
			t.Errorf("%v is routed, but no node announces it", p)
		}
		routed.AddPrefix(p)
	}
	if set, err := routed.IPSet(); err != nil || !slices.Equal(set.Prefixes(), plan.Routed) {
		t.Errorf("routed %v is not minimal and sorted: %v, %v", plan.Routed, set.Prefixes(), err)
	}
}

// checkRoutes: every part of what peers have is on exactly one path.
func checkRoutes(t *testing.T, plan Plan) {
	t.Helper()
	owner := make([]netipx.IPSetBuilder, len(plan.Peers))
	var seen netipx.IPSetBuilder
	for _, r := range plan.Routes {
		if taken, _ := seen.Clone().IPSet(); taken.OverlapsPrefix(r.Prefix) {
			t.Errorf("%v has two routes", r.Prefix)
		}
		seen.AddPrefix(r.Prefix)
		owner[r.Peer].AddPrefix(r.Prefix)
		tunnel := slices.ContainsFunc(plan.Routed, func(p netip.Prefix) bool { return p.Overlaps(r.Prefix) })
		if tunnel != (r.Path == PathTunnel) {
			t.Errorf("%v is on path %q, routed: %v", r.Prefix, r.Path, tunnel)
		}
	}
	for i, p := range plan.Peers {
		var want netipx.IPSetBuilder
		for _, a := range p.AllowedIPs {
			want.AddPrefix(a)
		}
		w, _ := want.IPSet()
		if got, _ := owner[i].IPSet(); !got.Equal(w) {
			t.Errorf("routes of a peer cover %v, want %v", got.Prefixes(), w.Prefixes())
		}
	}
}

// checkPins: no peer has another key or address than was pinned.
func checkPins(t *testing.T, in Input, plan Plan) {
	t.Helper()
	signed := map[string]bool{}
	for _, a := range in.Affiliates {
		signed[a.NodeID] = a.Record.Signed()
	}
	for _, pin := range in.Pins {
		if signed[pin.NodeID] || testNow.Sub(pin.LastSeen) >= pinLifetime || pin.Ephemeral {
			continue
		}
		for _, s := range plan.Specs {
			if s.NodeID == pin.NodeID && !pin.PublicKey.IsZero() && s.PublicKey != pin.PublicKey {
				t.Errorf("%s was pinned with %v and is a peer with %v, unsigned", s.NodeID, pin.PublicKey, s.PublicKey)
			}
			if s.NodeID == pin.NodeID && pin.Sequence != 0 {
				t.Errorf("%s has signed before and is a peer, unsigned", s.NodeID)
			}
			if pin.Nodename != "" && s.Name == pin.Nodename && s.NodeID != pin.NodeID && plan.Local.Nodename != s.Name && pinOf(in.Pins, s.NodeID, s.Name) == 0 &&
				!slices.ContainsFunc(in.Affiliates, func(a Affiliate) bool { return a.NodeID == pin.NodeID && a.Nodename != pin.Nodename }) {
				t.Errorf("%s has taken the name %q of %s", s.NodeID, s.Name, pin.NodeID)
			}
		}
	}
	if !slices.IsSortedFunc(plan.Pins, func(a, b Pin) int { return strings.Compare(a.NodeID, b.NodeID) }) {
		t.Error("pins are not sorted")
	}
}

// pinOf counts the pins by which a node has a name.
func pinOf(pins []Pin, nodeID, name string) (n int) {
	for _, p := range pins {
		if p.NodeID == nodeID && p.Nodename == name {
			n++
		}
	}
	return n
}

// disjoint returns the shortest list of prefixes for the same addresses.
func disjoint(list []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	for _, p := range list {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		return nil
	}
	return set.Prefixes()
}

// chooser turns bytes into an Input.
type chooser struct{ data []byte }

func (c *chooser) n(limit int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % limit
}

func (c *chooser) flag() bool { return c.n(2) == 1 }

func many[T any](c *chooser, limit int, one func() T) (out []T) {
	for range c.n(limit) {
		out = append(out, one())
	}
	return out
}

func (c *chooser) addr() netip.Addr {
	return []netip.Addr{
		{},
		netip.AddrFrom4([4]byte{10, 0, byte(c.n(2)), byte(c.n(8))}),
		netip.AddrFrom4([4]byte{byte(c.n(256)), 0, 2, 1}),
		netip.MustParseAddr(fmt.Sprintf("fd00:0:0:2::%x", c.n(6))),
		netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", c.n(6))),
		netip.MustParseAddr(fmt.Sprintf("::ffff:10.0.0.%d", c.n(8))),
		netip.MustParseAddr("fe80::1%eth0"),
		netip.MustParseAddr("fd00:0:9:2::1"),
	}[c.n(8)]
}

func (c *chooser) prefix() netip.Prefix { return netip.PrefixFrom(c.addr(), c.n(130)-1) }

func (c *chooser) masked() netip.Prefix {
	if p := c.prefix(); p.IsValid() {
		return p.Masked()
	}
	return netip.MustParsePrefix("10.0.0.0/31")
}

func (c *chooser) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(c.addr(), uint16(c.n(3)))
}

func (c *chooser) key() Key {
	if n := c.n(10); n > 0 {
		return testKey([]string{"self", "a", "b", "c", "d", "e", "f", "g", "h"}[n-1])
	}
	return Key{}
}

func (c *chooser) time() time.Time {
	boundaries := []time.Duration{never, 0, EndpointTimeout, PeerDownInterval, time.Second, time.Hour, -time.Second}
	return ago(boundaries[c.n(len(boundaries))] + time.Duration(c.n(3)-1)*boolToDuration(c.flag()))
}

func boolToDuration(b bool) time.Duration {
	if b {
		return time.Nanosecond
	}
	return 0
}

func (c *chooser) affiliate() Affiliate {
	return Affiliate{
		Nodename: []string{"", "a", "b", "self", hostileName}[c.n(5)], PublicKey: c.key(), Address: c.addr(),
		Addresses: many(c, 5, c.addr), AdditionalAddresses: many(c, 4, c.prefix), ExcludeAdvertisedNetworks: many(c, 3, c.prefix),
		Endpoints: many(c, 4, c.addrPort), MachineType: MachineControlPlane, ControlPlanePort: 6443,
	}
}

func (c *chooser) input() Input {
	in := testInput()
	in.Config = Config{
		Enabled: c.n(8) > 0, ForceRouting: c.flag(), HarvestExtraEndpoints: c.flag(), AnnounceAsMember: c.flag(),
		ExtraAnnouncedEndpoints: many(c, 11, c.addrPort), MachineType: []MachineType{"", MachineWorker, MachineControlPlane}[c.n(3)],
	}
	if c.flag() {
		in.Config.EndpointFilters = many(c, 3, func() Filter { return Filter{c.flag(), c.prefix()} })
		in.Config.AddressFilters = many(c, 3, func() AddressFilter { return AddressFilter{Refuse: c.flag(), Link: []string{"*", "l1"}[c.n(2)]} })
	}
	if c.flag() {
		in.Config.ExcludeAdvertisedNetworks = many(c, 3, c.prefix)
		in.Config.SiteNetworks, in.Config.SiteOnLink = many(c, 2, c.masked), c.flag()
		in.Config.AdvertisedNetworks = many(c, 3, c.masked)
		in.Config.RequireSigned, in.Config.HoldNetworks = c.n(4) == 0, time.Duration(c.n(2))*24*time.Hour
		in.Config.AllowedNetworks = many(c, 2, func() Allowance { return Allowance{[]string{"a", "b", "n3"}[c.n(3)], c.masked()} })
		in.Host.Gateways, in.Host.DNSServers, in.Host.DiscoveryServers = many(c, 2, c.addr), many(c, 2, c.addr), many(c, 2, c.addr)
		for i := range c.n(5) {
			in.Pins = append(in.Pins, Pin{
				NodeID: fmt.Sprintf("n%d", i+1), PublicKey: c.key(), Address: c.addr(), FirstSeen: c.time(), LastSeen: c.time(),
				Nodename: []string{"", "a", "b", hostileName}[c.n(4)], Networks: disjoint(many(c, 3, c.masked)), Gone: c.time(),
				Sequence: uint64(c.n(3)), Start: uint64(c.n(2)), Ephemeral: c.flag(),
			})
		}
	}
	in.Host.ListenPort = uint16(c.n(3))
	in.Host.Netstack = c.flag()
	in.Host.PublicAddresses = many(c, 4, c.addr)
	in.Host.MappedEndpoints = many(c, 4, c.addrPort)
	in.Host.Links = many(c, 4, func() Link {
		return Link{
			Name: fmt.Sprintf("l%d", c.n(3)), Kind: []string{"", "bridge", "tun"}[c.n(3)], Up: c.n(4) > 0, Loopback: c.n(4) == 0,
			DefaultRoute: c.flag(), Addresses: many(c, 5, c.prefix),
		}
	})
	in.Affiliates = many(c, 12, c.affiliate)
	for i := range in.Affiliates {
		in.Affiliates[i].NodeID = fmt.Sprintf("n%d", i) // n0 is this node
	}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if c.flag() {
			in.Stats = append(in.Stats, PeerStats{PublicKey: testKey(name), Endpoint: c.addrPort(), LastHandshakeTime: c.time()})
		}
		if c.flag() {
			in.Previous = append(in.Previous, PeerStatus{PublicKey: testKey(name), LastUsedEndpoint: c.addrPort(), LastEndpointChange: c.time()})
		}
	}
	return in
}
