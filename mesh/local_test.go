package mesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func addressFilters(t testing.TB, s string) []AddressFilter {
	t.Helper()
	var out []AddressFilter
	for _, f := range strings.Fields(s) {
		filter, err := ParseAddressFilter(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, filter)
	}
	return out
}

func TestLocalAddresses(t *testing.T) {
	const ula = "fd00:0:0:2::1"
	link := func(name, kind, addresses string) Link {
		return Link{Name: name, Kind: kind, Up: true, Addresses: prefixes(addresses)}
	}
	for _, c := range []struct {
		name    string
		links   []Link
		filters string
		want    string // without the KubeSpan address
	}{
		{"none", nil, "", ""},
		{"physical", []Link{link("eth0", "", "172.20.2.1/24 fd20:db8::1/64")}, "", "172.20.2.1 fd20:db8::1"},
		{"down", []Link{{Name: "eth0", Addresses: prefixes("172.20.2.1/24")}}, "", ""},
		{"down, though named", []Link{{Name: "eth0", Addresses: prefixes("172.20.2.1/24")}}, "eth0", ""},
		{"down, though with a default route", []Link{{Name: "eth0", DefaultRoute: true, Addresses: prefixes("172.20.2.1/24")}}, "", ""},
		{"bridge", []Link{link("docker0", "bridge", "172.17.0.1/16")}, "", ""},
		{"veth", []Link{link("veth1", "veth", "10.0.0.1/24")}, "", ""},
		{"tun", []Link{link("tun0", "tun", "10.0.0.1/24")}, "", ""},
		{"vxlan", []Link{link("flannel.1", "vxlan", "10.0.0.1/24")}, "", ""},
		{"wireguard", []Link{link("wg0", "wireguard", "10.0.0.1/24")}, "", ""},
		{"bond, vlan, macvlan, ipvlan, dummy", []Link{
			link("bond0", "bond", "10.0.0.1/24"), link("bond0.5", "vlan", "10.0.1.1/24"), link("mv0", "macvlan", "10.0.2.1/24"),
			link("iv0", "ipvlan", "10.0.3.1/24"), link("dummy0", "dummy", "10.0.4.1/24"),
		}, "", "10.0.0.1 10.0.1.1 10.0.2.1 10.0.3.1 10.0.4.1"},
		{"bridge with the default route", []Link{{Name: "br0", Kind: "bridge", Up: true, DefaultRoute: true, Addresses: prefixes("172.20.2.1/24")}}, "", "172.20.2.1"},
		{"bridge named by a filter", []Link{link("br0", "bridge", "10.0.0.1/24"), link("br1", "bridge", "10.0.1.1/24")}, "br0", "10.0.0.1"},
		{"bridge address named by a filter", []Link{link("br0", "bridge", "10.0.0.1/24 10.9.0.1/24")}, "10.9.0.0/16", "10.9.0.1"},
		{"a refused physical link", []Link{link("eth0", "", "10.0.0.1/24"), link("eth1", "", "10.0.1.1/24")}, "!eth1", "10.0.0.1"},
		{"a refused address", []Link{link("eth0", "", "10.0.0.1/24 10.0.1.1/24")}, "!10.0.1.1", "10.0.0.1"},
		{"a refused default route", []Link{{Name: "eth0", Up: true, DefaultRoute: true, Addresses: prefixes("172.20.2.1/24")}}, "!eth*", ""},
		{"the last filter wins", []Link{link("br0", "bridge", "10.0.0.1/24 10.0.1.1/24")}, "!* br* !10.0.1.0/24", "10.0.0.1"},
		{"the last filter wins, reversed", []Link{link("br0", "bridge", "10.0.0.1/24 10.0.1.1/24")}, "!10.0.1.0/24 br* !*", ""},
		{"loopback", []Link{{Name: "lo", Up: true, Loopback: true, Addresses: prefixes("127.0.0.1/8 10.255.0.1/32 ::1/128")}}, "", ""},
		{"loopback named by a filter", []Link{{Name: "lo", Up: true, Loopback: true, Addresses: prefixes("127.0.0.1/8 10.255.0.1/32 ::1/128")}}, "lo", "10.255.0.1"},
		{"never", []Link{link("eth0", "", "127.0.0.2/8 224.0.0.5/32 169.254.1.1/16 fe80::1/64 fd54:616c:6f73:0:204f:5320:444e:531/128 0.0.0.0/0 10.0.0.1/24")}, "*", "10.0.0.1"},
		{"our own /64", []Link{link("wirespan0", "tun", ula+"/64"), link("eth0", "", "fd00:0:0:2::77/64 10.0.0.1/24")}, "*", "10.0.0.1"},
		{"IPv4-mapped", []Link{link("eth0", "", "::ffff:10.0.0.1/120")}, "", "10.0.0.1"},
		{"on two links", []Link{link("eth0", "", "10.0.0.1/24"), link("eth1", "", "10.0.0.1/16")}, "", "10.0.0.1"},
		{
			"order: family, then specific before general, then address",
			[]Link{link("eth0", "", "fd20:db8::9/64 10.0.0.1/8 10.1.2.5/16 10.1.0.9/24 172.20.2.1/24 10.1.0.2/24 fd20:db8::5/128")},
			"", "10.1.0.2 10.1.0.9 10.1.2.5 10.0.0.1 172.20.2.1 fd20:db8::5 fd20:db8::9",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := testInput()
			in.Host.Links = c.links
			in.Config.AddressFilters = addressFilters(t, c.filters)
			got := Decide(in, testNow).Local.Addresses
			if !slices.Contains(got, netip.MustParseAddr(ula)) {
				t.Errorf("%v lacks the KubeSpan address", got)
			}
			got = slices.DeleteFunc(slices.Clone(got), func(a netip.Addr) bool { return a.String() == ula })
			if !slices.Equal(got, addrs(c.want)) {
				t.Errorf("addresses %v, want %v", got, c.want)
			}

			in.Host.Netstack = true
			if got := Decide(in, testNow).Local.Addresses; !slices.Equal(got, addrs(ula)) {
				t.Errorf("netstack: addresses %v, want %s alone", got, ula)
			}
		})
	}
}

// The order of Talos isn't transitive; equal sets must still give equal results.
func TestAddressOrderIgnoresInputOrder(t *testing.T) {
	list := prefixes("10.0.0.5/8 10.0.0.9/24 10.0.1.1/24 10.0.0.9/16 10.0.0.7/25 10.0.1.2/32 fd20:db8::1/64 fd20:db8::2/32")
	rng := rand.New(rand.NewPCG(5, 6))
	var first []hostAddress
	for range 50 {
		var in []hostAddress
		for _, i := range rng.Perm(len(list)) {
			in = append(in, hostAddress{prefix: list[i]})
		}
		got := sortHostAddresses(in)
		if first == nil {
			first = got
		}
		if !slices.Equal(got, first) {
			t.Fatalf("order %v, and another time %v", got, first)
		}
	}
}

func TestLocalEndpoints(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(in *Input)
		filters string // "nil" for none
		want    string
	}{
		{"addresses of links", func(*Input) {}, "nil", "172.20.2.1:51820"},
		{"real port", func(in *Input) { in.Host.ListenPort = 4242 }, "nil", "172.20.2.1:4242"},
		{"no port", func(in *Input) {
			in.Host.ListenPort = 0
			in.Config.ExtraAnnouncedEndpoints = addrPorts("172.22.113.1:7")
		}, "nil", "172.22.113.1:7"},
		{"netstack announces its host's", func(in *Input) { in.Host.Netstack = true }, "nil", "172.20.2.1:51820"},
		{
			"best first", func(in *Input) {
				in.Host.Links = append([]Link{{Name: "aux0", Up: true, Addresses: prefixes("10.0.0.1/24")}}, in.Host.Links...)
				in.Host.PublicAddresses = addrs("172.21.100.1 fd20:db8::1")
				in.Config.ExtraAnnouncedEndpoints = addrPorts("172.22.113.1:7 [::ffff:172.22.113.2]:8")
			}, "nil",
			"172.22.113.1:7 172.22.113.2:8 172.20.2.1:51820 172.21.100.1:51820 [fd20:db8::1]:51820 10.0.0.1:51820",
		},
		{"each once", func(in *Input) {
			in.Host.PublicAddresses = addrs("172.21.100.1 ::ffff:172.21.100.1")
			in.Config.ExtraAnnouncedEndpoints = addrPorts("172.20.2.1:51820 172.20.2.1:51820 172.21.100.1:51820")
		}, "nil", "172.20.2.1:51820 172.21.100.1:51820"},
		{"useless public addresses", func(in *Input) {
			in.Host.PublicAddresses = addrs("127.0.0.1 ::1 0.0.0.0 :: 169.254.0.1 fe80::1 fe80::1%eth0 224.0.0.1 ff02::1 fd00:0:0:2::1 fd00:0:0:2::9")
			in.Host.PublicAddresses = append(in.Host.PublicAddresses, netip.Addr{})
		}, "nil", "172.20.2.1:51820"},
		{"a public address that docker0 holds", func(in *Input) {
			in.Host.Links = append(in.Host.Links, Link{Name: "docker0", Kind: "bridge", Up: true, Addresses: prefixes("172.17.0.1/16")})
			in.Host.PublicAddresses = addrs("172.17.0.1")
		}, "nil", "172.20.2.1:51820"},
		{"a private public address", func(in *Input) { in.Host.PublicAddresses = addrs("10.9.9.9") }, "nil", "172.20.2.1:51820 10.9.9.9:51820"},
		{"mapped endpoints in place of public addresses", func(in *Input) {
			in.Host.Links = append(in.Host.Links, Link{Name: "aux0", Up: true, Addresses: prefixes("10.0.0.1/24")})
			in.Host.PublicAddresses = addrs("172.21.100.1 fd20:db8::1")
			in.Host.MappedEndpoints = addrPorts("172.21.100.1:4001 172.21.100.1:4002 [::ffff:172.21.100.9]:7")
		}, "nil", "172.20.2.1:51820 172.21.100.1:4001 172.21.100.1:4002 172.21.100.9:7 [fd20:db8::1]:51820 10.0.0.1:51820"},
		{"useless mapped endpoints", func(in *Input) {
			in.Host.MappedEndpoints = addrPorts("172.20.2.1:4001 127.0.0.1:1 [::1]:1 0.0.0.0:1 224.0.0.1:1 172.21.100.1:0 [fe80::1%eth0]:1 [fd00:0:0:2::9]:1")
		}, "nil", "172.20.2.1:51820"},
		{"filters of mapped endpoints", func(in *Input) {
			in.Host.MappedEndpoints = addrPorts("172.21.100.1:4001 172.22.100.1:4001")
		}, "0.0.0.0/0 !172.21.0.0/16", "172.20.2.1:51820 172.22.100.1:4001"},
		{"deprecated beside preferred", func(in *Input) {
			in.Host.Links[0].Addresses = prefixes("172.20.2.1/24 fd20:db8::1/64 fd20:db8:1::1/64")
			in.Host.Links[0].Deprecated = addrs("fd20:db8::1")
		}, "nil", "172.20.2.1:51820 [fd20:db8:1::1]:51820"},
		{"deprecated alone comes last", func(in *Input) {
			in.Host.Links[0].Addresses = prefixes("172.20.2.1/24 fd20:db8::1/64")
			in.Host.Links[0].Deprecated = addrs("fd20:db8::1 172.20.2.1")
			in.Host.Links = append(in.Host.Links, Link{Name: "aux0", Up: true, Addresses: prefixes("10.0.0.1/24")})
		}, "nil", "10.0.0.1:51820 172.20.2.1:51820 [fd20:db8::1]:51820"},
		{"unusable extras", func(in *Input) {
			in.Config.ExtraAnnouncedEndpoints = append(addrPorts("172.22.113.1:0"), netip.AddrPort{})
		}, "nil", "172.20.2.1:51820"},
		{"empty filters let nothing pass", func(in *Input) {
			in.Config.ExtraAnnouncedEndpoints = addrPorts("172.22.113.1:7")
			in.Host.PublicAddresses = addrs("172.21.100.1")
		}, "", "172.22.113.1:7"},
		{"filters group and spare extras", func(in *Input) {
			in.Config.ExtraAnnouncedEndpoints = addrPorts("172.22.113.1:7")
			in.Host.PublicAddresses = addrs("fd20:db8::1 172.21.100.1")
		}, "::/0 0.0.0.0/0 !172.20.2.0/24", "172.22.113.1:7 [fd20:db8::1]:51820 172.21.100.1:51820"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := testInput()
			c.change(&in)
			if c.filters != "nil" {
				in.Config.EndpointFilters = filters(t, c.filters)
			}
			plan := Decide(in, testNow)
			if want := addrPorts(c.want); !slices.Equal(plan.Local.Endpoints, want) {
				t.Errorf("endpoints %v, want %v", plan.Local.Endpoints, want)
			}
			if len(plan.Conditions) > 0 {
				t.Errorf("conditions %v", plan.Conditions)
			}
		})
	}
}

func TestAtMostEightEndpoints(t *testing.T) {
	in := testInput()
	for i := range MaxEndpoints - 1 {
		in.Config.ExtraAnnouncedEndpoints = append(in.Config.ExtraAnnouncedEndpoints, netip.MustParseAddrPort(fmt.Sprintf("172.22.113.%d:1", i)))
	}
	if plan := Decide(in, testNow); len(plan.Local.Endpoints) != MaxEndpoints || len(plan.Conditions) != 0 {
		t.Errorf("at the limit: %d endpoints, conditions %v", len(plan.Local.Endpoints), plan.Conditions)
	}
	in.Host.PublicAddresses = addrs("172.21.100.1 172.21.100.2")
	plan := Decide(in, testNow)
	if got := plan.Local.Endpoints; len(got) != MaxEndpoints || got[MaxEndpoints-1] != netip.MustParseAddrPort("172.20.2.1:51820") {
		t.Errorf("endpoints %v, want %d with the default route's address last", got, MaxEndpoints)
	}
	if len(plan.Conditions) != 1 || plan.Conditions[0].Type != ConditionEndpointsTruncated ||
		!strings.Contains(plan.Conditions[0].Message, "left out: 172.21.100.1:51820, 172.21.100.2:51820;") {
		t.Errorf("conditions %v", plan.Conditions)
	}
}

// A host with thousands of addresses announces some, among them its own in the mesh and
// those of its endpoints, and names only some of the others.
func TestManyAddresses(t *testing.T) {
	in := testInput()
	many := Link{Name: "eth0", Up: true, DefaultRoute: true}
	for i := range 3000 {
		many.Addresses = append(many.Addresses, netip.MustParsePrefix(fmt.Sprintf("10.64.%d.%d/32", i/250, i%250)))
	}
	in.Host.Links = []Link{many, {Name: "wifi0", Up: true, DefaultRoute: true, Addresses: prefixes("fd20:db8:5::1/64")}}
	plan := Decide(in, testNow)
	got := plan.Local.Addresses
	if len(got) != MaxAddresses || !slices.Contains(got, in.Self.Address) || !slices.Contains(got, netip.MustParseAddr("fd20:db8:5::1")) {
		t.Errorf("%d addresses: %v", len(got), got)
	}
	if len(plan.Conditions) != 2 {
		t.Errorf("conditions %v", plan.Conditions)
	}
	for _, c := range plan.Conditions {
		if len(c.Message) > 512 || !strings.Contains(c.Message, "300") {
			t.Errorf("condition %v", c)
		}
	}
}

// One endpoint of each link and family stays before any link has two.
func TestEndpointsOfEachLinkAndFamily(t *testing.T) {
	in := testInput()
	in.Host.Links = []Link{
		{Name: "eth0", Up: true, DefaultRoute: true, Addresses: prefixes(
			"10.0.0.1/24 10.0.1.1/24 10.0.2.1/24 10.0.3.1/24 10.0.4.1/24 10.0.5.1/24 10.0.6.1/24 10.0.7.1/24 10.0.8.1/24 fd20:db8::1/64 fd20:db8::2/64")},
		{Name: "lte0", Up: true, Addresses: prefixes("172.20.2.1/24 172.20.2.2/24")},
		{Name: "wifi0", Up: true, Addresses: prefixes("fd20:db8:5::1/64")},
	}
	want := addrPorts("10.0.0.1:51820 10.0.1.1:51820 10.0.2.1:51820 10.0.3.1:51820 10.0.4.1:51820 [fd20:db8::1]:51820 172.20.2.1:51820 [fd20:db8:5::1]:51820")
	if got := Decide(in, testNow).Local.Endpoints; !slices.Equal(got, want) {
		t.Errorf("endpoints %v, want %v", got, want)
	}
	in.Config.EndpointFilters = filters(t, "0.0.0.0/0 ::/0 !10.0.0.1/32 !172.20.2.1/32")
	want = addrPorts("10.0.1.1:51820 10.0.2.1:51820 10.0.3.1:51820 10.0.4.1:51820 10.0.5.1:51820 172.20.2.2:51820 [fd20:db8::1]:51820 [fd20:db8:5::1]:51820")
	if got := Decide(in, testNow).Local.Endpoints; !slices.Equal(got, want) {
		t.Errorf("filtered: endpoints %v, want %v", got, want)
	}
}

// Whatever the configuration says, the affiliate does no harm to a Talos cluster.
func TestLocalIsNeverControlPlane(t *testing.T) {
	for configured, want := range map[MachineType]MachineType{
		MachineWorker: MachineWorker, MachineUnknown: MachineUnknown,
		MachineControlPlane: MachineUnknown, MachineInit: MachineUnknown, "": MachineUnknown, "x": MachineUnknown,
	} {
		in := testInput()
		in.Config.MachineType = configured
		local := Decide(in, testNow).Local
		if local.MachineType != want || local.ControlPlanePort != 0 {
			t.Errorf("%q: machine type %q, control plane port %d; want %q, 0", configured, local.MachineType, local.ControlPlanePort, want)
		}
	}
}

func TestLocalMember(t *testing.T) {
	in := testInput()
	in.Config.ExcludeAdvertisedNetworks = prefixes("10.0.0.0/8")
	plan := Decide(in, testNow)
	if l := plan.Local; l.Nodename != "self" || l.Hostname != "self.example.com" || l.OperatingSystem != "Debian (13)" || l.NodeID != "n0" ||
		l.PublicKey != testKey("self") || l.Address != in.Self.Address || !slices.Equal(l.ExcludeAdvertisedNetworks, prefixes("10.0.0.0/8")) {
		t.Errorf("local affiliate %+v", l)
	}
	if len(plan.Members) != 1 || plan.Members[0].NodeID != "n0" {
		t.Errorf("members %+v, want this node", plan.Members)
	}
	in.Config.AnnounceAsMember = false
	plan = Decide(in, testNow)
	if plan.Local.Nodename != "" || plan.Local.PublicKey.IsZero() || len(plan.Members) != 0 {
		t.Errorf("not announced as a member: nodename %q, members %+v", plan.Local.Nodename, plan.Members)
	}
}

func TestHostAddresses(t *testing.T) {
	links := []Link{
		{Name: "aux0", Up: true, Addresses: prefixes("10.0.0.1/24")},
		{Name: "eth0", Up: true, DefaultRoute: true, Addresses: prefixes("172.20.2.1/24 fd20:db8::1/64")},
		{Name: "wirespan0", Kind: "tun", Up: true, Addresses: prefixes("fd00:0:0:2::1/64")},
		{Name: "docker0", Kind: "bridge", Up: true, Addresses: prefixes("172.17.0.1/16")},
	}
	if got, want := HostAddresses(links, nil), addrs("172.20.2.1 fd20:db8::1 10.0.0.1"); !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	links[1].Deprecated = addrs("fd20:db8::1 172.20.2.1")
	links[1].Addresses = append(links[1].Addresses, prefixes("fd20:db8:1::1/64")...)
	if got, want := HostAddresses(links, nil), addrs("fd20:db8:1::1 10.0.0.1 172.20.2.1"); !slices.Equal(got, want) {
		t.Errorf("deprecated: addresses %v, want %v", got, want)
	}
	if got, want := HostAddresses(links, addressFilters(t, "* !eth0")), addrs("10.0.0.1 172.17.0.1"); !slices.Equal(got, want) {
		t.Errorf("filtered: addresses %v, want %v", got, want)
	}
}

func TestPodNetworks(t *testing.T) {
	pods := prefixes("10.244.1.0/24 fd00:244::/64")
	for name, test := range map[string]struct {
		change func(*Input)
		want   string
	}{
		"not asked for": {func(*Input) {}, "[]"},
		"asked for":     {func(in *Input) { in.Config.AdvertisePodNetworks = true }, "[10.244.1.0/24 fd00:244::/64]"},
		"beside others": {func(in *Input) {
			in.Config.AdvertisePodNetworks, in.Config.AdvertisedNetworks = true, prefixes("10.9.0.0/16")
		}, "[10.9.0.0/16 10.244.1.0/24 fd00:244::/64]"},
		"with a netstack":    {func(in *Input) { in.Config.AdvertisePodNetworks, in.Host.Netstack = true, true }, "[]"},
		"not known (or yet)": {func(in *Input) { in.Config.AdvertisePodNetworks, in.Host.PodNetworks = true, nil }, "[]"},
	} {
		in := testInput()
		in.Host.PodNetworks = pods
		test.change(&in)
		var cs conditions
		if got := fmt.Sprint(localNetworks(&in, &cs)); got != test.want {
			t.Errorf("%s: announced %s, want %s", name, got, test.want)
		}
	}

	// Addresses in them are no addresses of the node, but for that of the link to the world.
	in := testInput()
	in.Host.PodNetworks = pods
	in.Host.Links = []Link{
		{Name: "cni0", Up: true, Addresses: prefixes("10.244.1.1/24")},
		{Name: "eth0", Up: true, DefaultRoute: true, Addresses: prefixes("10.244.1.77/24 192.0.2.1/24")},
	}
	var got []string
	for _, a := range hostAddresses(&in) {
		got = append(got, a.prefix.Addr().String())
	}
	if want := "10.244.1.77 192.0.2.1"; strings.Join(got, " ") != want {
		t.Errorf("addresses %q, want %s", got, want)
	}
	if !slices.Equal(ownNetworks(&in), pods) {
		t.Errorf("own networks %v", ownNetworks(&in))
	}
}
