package host

import (
	"bufio"
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
	"github.com/wirespan/wirespan/mesh"
)

func TestHostOfThisMachine(t *testing.T) {
	h := New(Config{})
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
	go func() { ended <- New(Config{}).Run(ctx) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestUsableAddresses(t *testing.T) {
	address := func(prefix string, scope byte, flags uint32) netlink.Address {
		return netlink.Address{Prefix: netip.MustParsePrefix(prefix), Scope: scope, Flags: flags}
	}
	const usual = unix.RT_SCOPE_UNIVERSE
	lasting := address("2001:db8::f/64", usual, unix.IFA_F_PERMANENT)
	temporary := address("2001:db8::6/64", usual, unix.IFA_F_TEMPORARY)
	deprecated := address("2001:db8:1::2/64", usual, unix.IFA_F_DEPRECATED)
	for name, test := range map[string]struct {
		addresses  []netlink.Address
		want       string
		deprecated string
	}{
		"IPv4":                  {[]netlink.Address{address("192.0.2.1/24", usual, unix.IFA_F_PERMANENT)}, "192.0.2.1/24", ""},
		"IPv6":                  {[]netlink.Address{address("2001:db8::1/64", usual, unix.IFA_F_PERMANENT)}, "2001:db8::1/64", ""},
		"site scope":            {[]netlink.Address{address("fec0::1/64", unix.RT_SCOPE_SITE, 0)}, "fec0::1/64", ""},
		"secondary":             {[]netlink.Address{address("192.0.2.2/24", usual, unix.IFA_F_SECONDARY)}, "192.0.2.2/24", ""},
		"deprecated":            {[]netlink.Address{deprecated}, "2001:db8:1::2/64", "2001:db8:1::2"},
		"deprecated IPv4":       {[]netlink.Address{address("192.0.2.3/24", usual, unix.IFA_F_DEPRECATED)}, "192.0.2.3/24", "192.0.2.3"},
		"optimistic":            {[]netlink.Address{address("2001:db8::3/64", usual, unix.IFA_F_OPTIMISTIC)}, "2001:db8::3/64", ""},
		"link scope":            {[]netlink.Address{address("fe80::1/64", unix.RT_SCOPE_LINK, 0)}, "", ""},
		"IPv4 link scope":       {[]netlink.Address{address("169.254.0.1/16", unix.RT_SCOPE_LINK, 0)}, "", ""},
		"host scope":            {[]netlink.Address{address("127.0.0.1/8", unix.RT_SCOPE_HOST, 0)}, "", ""},
		"tentative":             {[]netlink.Address{address("2001:db8::4/64", usual, unix.IFA_F_TENTATIVE)}, "", ""},
		"duplicate":             {[]netlink.Address{address("2001:db8::5/64", usual, unix.IFA_F_DADFAILED)}, "", ""},
		"temporary alone":       {[]netlink.Address{temporary}, "2001:db8::6/64", ""},
		"temporary, and IPv4":   {[]netlink.Address{temporary, address("192.0.2.1/24", usual, 0)}, "192.0.2.1/24 2001:db8::6/64", ""},
		"temporary and not":     {[]netlink.Address{temporary, lasting}, "2001:db8::f/64", ""},
		"temporary, others old": {[]netlink.Address{temporary, deprecated}, "2001:db8:1::2/64 2001:db8::6/64", "2001:db8:1::2"},
		"an old temporary one":  {[]netlink.Address{address("2001:db8::7/64", usual, unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED)}, "", ""},
	} {
		var l addresses
		for _, a := range test.addresses {
			l.add(a)
		}
		var got, old []string
		for _, p := range l.usable() {
			got = append(got, p.String())
		}
		for _, a := range l.deprecated {
			old = append(old, a.String())
		}
		if strings.Join(got, " ") != test.want || strings.Join(old, " ") != test.deprecated {
			t.Errorf("%s: %v, of which deprecated %v; want %q and %q", name, got, old, test.want, test.deprecated)
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
