package host

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

func TestHostOfThisMachine(t *testing.T) {
	h := New()
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(links, func(l mesh.Link) bool { return l.Name == "lo" })
	if i < 0 || !links[i].Loopback || links[i].Kind != "" || links[i].DefaultRoute {
		t.Errorf("links = %+v", links)
	} else if links[i].Up && !slices.Contains(links[i].Addresses, netip.MustParsePrefix("127.0.0.1/8")) {
		t.Logf("lo has addresses %v", links[i].Addresses) // some sandboxes give it others
	}
	if !slices.IsSortedFunc(links, func(a, b mesh.Link) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("links are not sorted: %+v", links)
	}
	if OperatingSystem() == "" {
		t.Error("no operating system")
	}
}

func TestHostRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- New().Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestIsDefault(t *testing.T) {
	prefix := func(s string) *net.IPNet {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, test := range map[string]struct {
		route netlink.Route
		want  bool
	}{
		"no destination": {netlink.Route{Type: unix.RTN_UNICAST}, true},
		"IPv4":           {netlink.Route{Type: unix.RTN_UNICAST, Dst: prefix("0.0.0.0/0")}, true},
		"IPv6":           {netlink.Route{Type: unix.RTN_UNICAST, Dst: prefix("::/0")}, true},
		"half":           {netlink.Route{Type: unix.RTN_UNICAST, Dst: prefix("0.0.0.0/1")}, false},
		"unreachable":    {netlink.Route{Type: unix.RTN_UNREACHABLE, Dst: prefix("0.0.0.0/0")}, false},
	} {
		if got := isDefault(&test.route); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestUsableAddresses(t *testing.T) {
	address := func(cidr string, scope, flags int) netlink.Addr {
		ip, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		return netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: n.Mask}, Scope: scope, Flags: flags}
	}
	for name, test := range map[string]struct {
		address netlink.Addr
		want    string // empty: not usable
	}{
		"IPv4":            {address("192.0.2.1/24", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_PERMANENT), "192.0.2.1/24"},
		"IPv6":            {address("2001:db8::1/64", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_PERMANENT), "2001:db8::1/64"},
		"site scope":      {address("fec0::1/64", unix.RT_SCOPE_SITE, 0), "fec0::1/64"},
		"secondary":       {address("192.0.2.2/24", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_SECONDARY), "192.0.2.2/24"},
		"deprecated":      {address("2001:db8::2/64", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_DEPRECATED), "2001:db8::2/64"},
		"optimistic":      {address("2001:db8::3/64", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_OPTIMISTIC), "2001:db8::3/64"},
		"link scope":      {address("fe80::1/64", unix.RT_SCOPE_LINK, 0), ""},
		"IPv4 link scope": {address("169.254.0.1/16", unix.RT_SCOPE_LINK, 0), ""},
		"host scope":      {address("127.0.0.1/8", unix.RT_SCOPE_HOST, 0), ""},
		"tentative":       {address("2001:db8::4/64", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_TENTATIVE), ""},
		"duplicate":       {address("2001:db8::5/64", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_DADFAILED), ""},
		"temporary":       {address("2001:db8::6/64", unix.RT_SCOPE_UNIVERSE, unix.IFA_F_TEMPORARY), ""},
	} {
		got, ok := usable(&test.address)
		if ok != (test.want != "") || ok && got.String() != test.want {
			t.Errorf("%s: %v, %v; want %q", name, got, ok, test.want)
		}
	}
}

func TestNextHops(t *testing.T) {
	for name, test := range map[string]struct {
		route netlink.Route
		want  []string
	}{
		"none":      {netlink.Route{}, nil},
		"gateway":   {netlink.Route{Gw: net.IPv4(192, 0, 2, 1)}, []string{"192.0.2.1"}},
		"IPv6":      {netlink.Route{Gw: net.ParseIP("fe80::1")}, []string{"fe80::1"}},
		"via":       {netlink.Route{Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("fe80::2")}}, []string{"fe80::2"}},
		"multipath": {netlink.Route{MultiPath: []*netlink.NexthopInfo{{Gw: net.IPv4(192, 0, 2, 1)}, {}, {Gw: net.IPv4(192, 0, 2, 2)}}}, []string{"192.0.2.1", "192.0.2.2"}},
	} {
		var got []string
		for _, a := range nextHops(&test.route) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestNameservers(t *testing.T) {
	const file = `# nameserver 192.0.2.9
search example.com
nameserver 192.0.2.1
 nameserver	2001:db8::1 trailing
nameserver 127.0.0.53
nameserver ::1
nameserver fe80::1%eth0
nameserver ::ffff:192.0.2.2
nameserver
nameserver nonsense
options nameserver
`
	read := func(text string) (out []string) {
		for _, a := range appendNameservers(nil, bufio.NewScanner(strings.NewReader(text))) {
			out = append(out, a.String())
		}
		return out
	}
	if got, want := read(file), []string{"192.0.2.1", "2001:db8::1", "fe80::1", "192.0.2.2"}; !slices.Equal(got, want) {
		t.Errorf("servers %q, want %q", got, want)
	}
	if got := len(read(strings.Repeat("nameserver 192.0.2.1\n", maxDNSServers+1))); got != maxDNSServers {
		t.Errorf("%d servers, want %d", got, maxDNSServers)
	}
}

func TestOSRelease(t *testing.T) {
	for file, want := range map[string]string{
		"NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n": "Debian GNU/Linux (13)",
		"VERSION_ID=1\nNAME='Talos'\nID=x":               "Talos (1)",
		"NAME=Arch\n":                                    "Arch",
		"VERSION_ID=1\n":                                 "",
		"nonsense":                                       "",
	} {
		if got := osRelease(strings.NewReader(file)); got != want {
			t.Errorf("%q: %q, want %q", file, got, want)
		}
	}
}
