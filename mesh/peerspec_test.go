package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// specOf returns the spec of the peer with that name, and all conditions as text.
func specOf(t *testing.T, in Input, name string) (PeerSpec, string) {
	t.Helper()
	plan := Decide(in, testNow)
	var text strings.Builder
	for _, c := range plan.Conditions {
		fmt.Fprintf(&text, "%s %s: %s\n", c.Type, c.Subject, c.Message)
	}
	for _, s := range plan.Specs {
		if s.NodeID == name {
			return s, text.String()
		}
	}
	return PeerSpec{}, text.String()
}

func TestAllowedIPs(t *testing.T) {
	for _, c := range []struct {
		name                            string
		address                         string // default fd00:0:0:2::11
		addresses, additional, excluded string
		want                            string
	}{
		{"the KubeSpan address alone", "", "", "", "", "fd00:0:0:2::11/128"},
		{"addresses, IPv4 first", "", "fd20:db8::5 172.21.100.5 fd00:0:0:2::11", "", "", "172.21.100.5/32 fd00:0:0:2::11/128 fd20:db8::5/128"},
		{"additional networks are masked", "", "", "10.244.1.9/24", "", "10.244.1.0/24 fd00:0:0:2::11/128"},
		{"minimal", "", "10.0.0.128 10.0.0.5", "10.0.0.0/25 10.0.0.128/25", "", "10.0.0.0/24 fd00:0:0:2::11/128"},
		{"excluded", "", "10.0.0.5 10.1.0.5", "", "10.0.0.0/16", "10.1.0.5/32 fd00:0:0:2::11/128"},
		{"excluded part", "", "", "10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/25 fd00:0:0:2::11/128"},
		{"the KubeSpan address can't be excluded", "", "10.0.0.5", "", "::/0 0.0.0.0/0", "fd00:0:0:2::11/128"},
		{"no other address of the /64", "", "fd00:0:0:2::12", "fd00:0:0:2::/64", "", "fd00:0:0:2::11/128"},
		{"no larger network over the /64", "", "", "fd00:0:0:2::/63", "", "fd00:0:0:2::11/128 fd00:0:0:3::/64"},
		{"address outside the /64", "fd00:0:0:3::11", "fd00:0:0:3::11 10.0.0.5", "", "", "10.0.0.5/32"},
		{"IPv4 as KubeSpan address", "10.0.0.5", "10.0.0.5 10.0.0.6", "", "", "10.0.0.6/32"},
		{"our KubeSpan address", "fd00:0:0:2::1", "fd00:0:0:2::1 10.0.0.5", "", "", "10.0.0.5/32"},
		{"our host address", "", "172.20.2.1 172.20.2.2", "", "", "172.20.2.2/32 fd00:0:0:2::11/128"},
		{"our host address inside a network", "", "", "172.20.2.0/30", "", "172.20.2.0/32 172.20.2.2/31 fd00:0:0:2::11/128"},
		{"never routed", "", "127.0.0.1 169.254.169.254 224.0.0.1 255.255.255.255 0.0.0.0 :: ::1 fe80::1 ff02::1", "127.0.0.0/8 fe80::/10", "", "fd00:0:0:2::11/128"},
		{"IPv4-mapped", "", "::ffff:10.0.0.5", "::ffff:10.1.0.0/112", "::ffff:10.1.0.0/113", "10.0.0.5/32 10.1.128.0/17 fd00:0:0:2::11/128"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := testInput()
			p := testPeer("n1", "11")
			if c.address != "" {
				p.Address = netip.MustParseAddr(c.address)
			}
			p.Addresses, p.AdditionalAddresses, p.ExcludeAdvertisedNetworks = addrs(c.addresses), prefixes(c.additional), prefixes(c.excluded)
			in.Affiliates = []Affiliate{p}
			got, _ := specOf(t, in, "n1")
			if want := prefixes(c.want); !slices.Equal(got.AllowedIPs, want) {
				t.Errorf("allowed IPs %v, want %v", got.AllowedIPs, want)
			}
		})
	}
}

func TestPeerConflicts(t *testing.T) {
	for _, c := range []struct {
		name       string
		change     func(in *Input, a, b *Affiliate)
		wantA      string // allowed IPs of n1 beyond its KubeSpan address; "-": not a peer
		wantB      string
		conditions []string // pieces that must be there; nil: no condition at all
	}{
		{"none", func(_ *Input, a, b *Affiliate) { a.Addresses, b.Addresses = addrs("10.0.0.1"), addrs("10.0.0.2") }, "10.0.0.1/32", "10.0.0.2/32", nil},
		{
			"same address", func(_ *Input, a, b *Affiliate) {
				a.Addresses, b.Addresses = addrs("10.0.0.1"), addrs("10.0.0.1 10.0.0.2")
			},
			"10.0.0.1/32", "10.0.0.2/32",
			[]string{`NetworkOverlap n2: "n2" (node n2) announces 10.0.0.1/32, which "n1" (node n1) keeps;`},
		},
		{
			"later inside earlier", func(_ *Input, a, b *Affiliate) {
				a.AdditionalAddresses, b.AdditionalAddresses = prefixes("10.0.0.0/8"), prefixes("10.1.0.0/16")
			},
			"10.0.0.0/8", "",
			[]string{`NetworkOverlap n2: "n2" (node n2) announces 10.1.0.0/16, which "n1" (node n1) keeps; nothing else is routed to it;`},
		},
		{
			"earlier inside later", func(_ *Input, a, b *Affiliate) {
				a.AdditionalAddresses, b.AdditionalAddresses = prefixes("10.0.0.0/10"), prefixes("10.0.0.0/8")
			},
			"10.0.0.0/10", "10.64.0.0/10 10.128.0.0/9",
			[]string{`announces 10.0.0.0/10, which "n1" (node n1) keeps;`},
		},
		{
			"same public key", func(_ *Input, a, b *Affiliate) { b.PublicKey = a.PublicKey },
			"", "-",
			[]string{`DuplicatePublicKey n2: "n2" (node n2) announces the public key of "n1" (node n1), which keeps it;`},
		},
		{
			"our public key", func(in *Input, a, _ *Affiliate) { a.PublicKey = in.Self.PublicKey },
			"-", "",
			[]string{`DuplicatePublicKey n1: "n1" (node n1) announces this node's public key`},
		},
		{
			"our KubeSpan address", func(in *Input, a, _ *Affiliate) {
				a.Address, a.Addresses = in.Self.Address, []netip.Addr{in.Self.Address}
			},
			"", "",
			[]string{`DuplicateAddress n1: "n1" (node n1) has this node's KubeSpan address fd00:0:0:2::1`},
		},
		{
			"same KubeSpan address", func(_ *Input, a, b *Affiliate) { b.Address = a.Address },
			"", "",
			[]string{`DuplicateAddress n2: "n2" (node n2) has the KubeSpan address fd00:0:0:2::11 of "n1" (node n1), which keeps it`},
		},
		{
			"KubeSpan address of another cluster", func(_ *Input, _, b *Affiliate) { b.Address = netip.MustParseAddr("fd00:0:1:2::1") },
			"", "",
			[]string{`AddressUnusable n2: "n2" (node n2) has the KubeSpan address fd00:0:1:2::1, which is not in this cluster's fd00:0:0:2::/64`},
		},
		{"no KubeSpan address", func(_ *Input, _, b *Affiliate) { b.Address = netip.Addr{} }, "", "", []string{`AddressUnusable n2: "n2" (node n2) announces no KubeSpan address`}},
		{"no public key", func(_ *Input, _, b *Affiliate) { b.PublicKey = Key{} }, "", "-", nil},
		{
			"our announced address", func(_ *Input, a, _ *Affiliate) { a.Addresses = addrs("172.20.2.1 10.0.0.1") },
			"10.0.0.1/32", "",
			[]string{`DuplicateAddress n1: "n1" (node n1) announces 172.20.2.1, an address of this host`},
		},
		{
			"another agent on this host", func(in *Input, a, _ *Affiliate) {
				in.Host.Links = append(in.Host.Links, Link{Name: "wirespan1", Kind: "tun", Up: true, Addresses: prefixes("fd00:0:0:2::11/64 10.0.0.9/32")})
				a.Addresses, a.AdditionalAddresses = addrs("fd00:0:0:2::11 10.0.0.9"), prefixes("10.0.0.8/31")
			},
			"10.0.0.8/32", "", nil,
		},
		{
			"our docker0", func(in *Input, a, _ *Affiliate) {
				in.Host.Links = append(in.Host.Links, Link{Name: "docker0", Kind: "bridge", Up: true, Addresses: prefixes("172.17.0.1/16")})
				a.Addresses = addrs("172.17.0.1 10.0.0.1")
			},
			"10.0.0.1/32", "", nil,
		},
		{
			"our host's address, but we are a netstack node", func(in *Input, a, _ *Affiliate) {
				in.Host.Netstack = true
				a.Addresses = addrs("172.20.2.1")
			},
			"", "", nil,
		},
		{
			"too many addresses", func(_ *Input, a, _ *Affiliate) {
				a.AdditionalAddresses = prefixes("10.0.0.0/16")
				for i := range maxPeerAddresses + 1 {
					a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte{10, byte(i / 128), 0, byte(i)}))
				}
			},
			"10.0.0.0/16", "",
			[]string{"AffiliateTruncated n1: \"n1\" (node n1) announces 129 addresses, 1 additional and 0 excluded networks; only the first 128 of each are used"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := testInput()
			a, b := testPeer("n1", "11"), testPeer("n2", "12")
			c.change(&in, &a, &b)
			in.Affiliates = []Affiliate{b, a}
			for name, want := range map[string]string{"n1": c.wantA, "n2": c.wantB} {
				spec, conditions := specOf(t, in, name)
				if (spec.NodeID == "") != (want == "-") {
					t.Fatalf("%s is a peer: %v", name, spec.NodeID != "")
				}
				if a := spec.Address; a.IsValid() != slices.Contains(spec.AllowedIPs, netip.PrefixFrom(a, 128)) {
					t.Errorf("%s has address %v and allowed IPs %v", name, a, spec.AllowedIPs)
				}
				rest := slices.DeleteFunc(spec.AllowedIPs, func(p netip.Prefix) bool { return testSubnet.Contains(p.Addr()) })
				if want != "-" && !slices.Equal(rest, prefixes(want)) {
					t.Errorf("%s has %v, want %v", name, rest, want)
				}
				for _, piece := range c.conditions {
					if !strings.Contains(conditions, piece) {
						t.Errorf("conditions:\n%swant %q in them", conditions, piece)
					}
				}
				if n := strings.Count(conditions, "\n"); n != len(c.conditions) {
					t.Errorf("%d conditions, want %d:\n%s", n, len(c.conditions), conditions)
				}
			}
		})
	}
}

func TestOverlapNamesFewWinners(t *testing.T) {
	in := testInput()
	for i := range 5 {
		p := testPeer(fmt.Sprintf("n%d", i+1), fmt.Sprintf("1%d", i))
		p.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}
		in.Affiliates = append(in.Affiliates, p)
	}
	last := testPeer("n9", "99")
	last.AdditionalAddresses = prefixes("10.0.0.0/24")
	in.Affiliates = append(in.Affiliates, last)
	_, conditions := specOf(t, in, "n9")
	if want := `10.0.0.2/32, which "n3" (node n3) keeps; and networks of 2 more nodes; the first`; !strings.Contains(conditions, want) {
		t.Errorf("conditions:\n%swant %q", conditions, want)
	}
}

func TestPeerEndpoints(t *testing.T) {
	in := testInput()
	p := testPeer("n1", "11")
	p.Endpoints = addrPorts("172.21.100.1:1 [::ffff:172.21.100.2]:2 172.21.100.1:1 [fd20:db8::1]:3 127.0.0.1:4 [::1]:4 [::ffff:127.0.0.2]:4 " +
		"0.0.0.0:5 [ff02::1]:6 [fe80::1]:7 [fe80::1%eth0]:8 [fd00:0:0:2::12]:9 172.21.100.3:0 [fd20:db8::2%x]:1")
	p.Endpoints = append(p.Endpoints, netip.AddrPort{})
	in.Affiliates = []Affiliate{p}
	spec, _ := specOf(t, in, "n1")
	want := addrPorts("172.21.100.1:1 172.21.100.2:2 [fd20:db8::1]:3")
	if !slices.Equal(spec.Endpoints, want) {
		t.Errorf("endpoints %v, want %v", spec.Endpoints, want)
	}
	in.Config.ExtraAnnouncedEndpoints = addrPorts("[::ffff:127.0.0.1]:51820") // a mesh of processes on this host
	spec, _ = specOf(t, in, "n1")
	if want = append(want, addrPorts("127.0.0.1:4 [::1]:4 127.0.0.2:4")...); !slices.Equal(spec.Endpoints, want) {
		t.Errorf("among processes: endpoints %v, want %v", spec.Endpoints, want)
	}

	p.Endpoints = nil
	for i := range maxPeerEndpoints + 1 {
		p.Endpoints = append(p.Endpoints, netip.AddrPortFrom(netip.MustParseAddr("172.21.100.1"), uint16(i+1)))
	}
	in.Affiliates = []Affiliate{p}
	spec, conditions := specOf(t, in, "n1")
	if len(spec.Endpoints) != maxPeerEndpoints || !strings.Contains(conditions, "announces 65 endpoints; only the first 64 are used") {
		t.Errorf("%d endpoints, conditions:\n%s", len(spec.Endpoints), conditions)
	}
}
