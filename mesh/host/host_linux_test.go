package host

import (
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
	if mac, err := h.FirstMAC(); err != nil || len(mac) != 0 && len(mac) != 6 && len(mac) != 8 {
		t.Errorf("FirstMAC = %x, %v", mac, err)
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
