//go:build !edge

package node

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func TestServerAddresses(t *testing.T) {
	links := []mesh.Link{
		{Name: "lo", Loopback: true, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
		{Name: "eth0", Up: true, DefaultRoute: true, Addresses: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64"),
		}},
	}
	no4 := []mesh.AddressFilter{{Refuse: true, Prefix: netip.MustParsePrefix("192.0.2.0/24")}}
	many := make([]string, config.MaxTokenServers+3)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String()
	}
	gateway := map[string][]string{"[::]:5": {"11.90.0.7:6"}}
	for name, test := range map[string]struct {
		advertise []string
		filters   []mesh.AddressFilter
		listen    string
		want      []string
	}{
		"by the gateway, too": {nil, no4, "[::]:5", []string{"[2001:db8::1]:5", "11.90.0.7:6"}},
		"the host's":          {nil, nil, "[::]:1", []string{"192.0.2.1:1", "[2001:db8::1]:1"}},
		"IPv4 only":           {nil, nil, "0.0.0.0:1", []string{"192.0.2.1:1", "[2001:db8::1]:1"}},
		"one address":         {nil, nil, "192.0.2.1:2", []string{"192.0.2.1:2"}},
		"mapped":              {nil, nil, "[::ffff:192.0.2.1]:2", []string{"192.0.2.1:2"}},
		"configured first": {
			[]string{"d.example", "d.example:99", "[2001:db8::9]:7", "2001:db8::8"},
			nil, "192.0.2.1:2",
			[]string{"d.example:2", "d.example:99", "[2001:db8::9]:7", "[2001:db8::8]:2", "192.0.2.1:2"},
		},
		"no duplicates": {[]string{"192.0.2.1", "192.0.2.1:3"}, nil, "[::]:3", []string{"192.0.2.1:3", "[2001:db8::1]:3"}},
		"filtered":      {nil, no4, "[::]:1", []string{"[2001:db8::1]:1"}},
		"bounded":       {many, nil, "192.0.2.1:2", nil},
	} {
		c := &config.Config{}
		c.AdvertiseDiscovery, c.AddressFilters = test.advertise, test.filters
		got := serverAddresses(c, links, netip.MustParseAddrPort(test.listen), gateway[test.listen])
		if name == "bounded" {
			if len(got) != config.MaxTokenServers || got[0] != "198.51.100.0:2" {
				t.Errorf("%s: %d addresses: %q", name, len(got), got)
			}
		} else if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// A founder's discovery server is to be mapped, and its STUN port if it has one of its own.
func TestPortsOfTheServer(t *testing.T) {
	for name, test := range map[string]struct {
		listen    string
		stun      bool
		advertise []string
		want      []string // networks
		refused   bool
	}{
		"alone":      {":0", false, nil, []string{"tcp"}, false},
		"with STUN":  {":0", true, nil, []string{"tcp", "udp"}, false},
		"configured": {":0", true, []string{"mesh.example"}, []string{"tcp", "udp"}, true},
		"loopback":   {"127.0.0.1:0", true, nil, nil, false},
	} {
		l, err := net.Listen("tcp", test.listen)
		if err != nil {
			t.Fatal(err)
		}
		e := &embeddedServer{listener: l}
		if test.stun {
			e.stun = &stunListener{}
		}
		c := &config.Config{}
		c.AdvertiseDiscovery = test.advertise
		got := e.ports(c)
		if len(got) != len(test.want) {
			t.Errorf("%s: %+v, want %v", name, got, test.want)
		}
		for i, p := range got[:min(len(got), len(test.want))] {
			if p.Network() != test.want[i] || p.Number != e.port() || (p.Refused != "") != test.refused {
				t.Errorf("%s: %+v, want %s", name, p, test.want[i])
			}
		}
		_ = l.Close()
	}
}
