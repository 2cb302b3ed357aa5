package nat

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

// A server at home can show a NAT, and can't show that there is none.
func TestTranslation(t *testing.T) {
	own := socket{[]netip.Addr{netip.MustParseAddr("192.168.1.2")}, 51820}
	home, internet := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("203.0.113.1")
	same, other := netip.MustParseAddrPort("192.168.1.2:51820"), netip.MustParseAddrPort("203.0.113.9:51820")
	for want, lists := range map[mesh.Translation][][]observation{
		mesh.TranslationUnknown: {nil, {{home, same}}},
		mesh.TranslationNone:    {{{internet, same}}, {{home, same}, {internet, same}}},
		mesh.TranslationPresent: {{{internet, other}}, {{home, same}, {internet, other}}, {{home, other}}},
	} {
		for _, list := range lists {
			if got := translation(list, own); got != want {
				t.Errorf("%v: %d, want %d", list, got, want)
			}
		}
	}
}

func TestObservations(t *testing.T) {
	own := socket{[]netip.Addr{netip.MustParseAddr("192.168.1.2")}, 51820}
	for name, test := range map[string]struct {
		seen      string // server>mapped …
		mapping   mesh.Behaviour
		announced string
	}{
		"no answer":                  {"", mesh.BehaviourUnknown, ""},
		"no NAT":                     {"192.0.2.1>192.168.1.2:51820", mesh.BehaviourNone, ""},
		"one server":                 {"192.0.2.1>203.0.113.9:4000", mesh.BehaviourUnknown, "203.0.113.9:4000"},
		"two servers":                {"192.0.2.1>203.0.113.9:4000 192.0.2.2>203.0.113.9:4000", mesh.BehaviourEndpointIndependent, "203.0.113.9:4000"},
		"one server, twice":          {"192.0.2.1>203.0.113.9:4000 192.0.2.1>203.0.113.9:4000", mesh.BehaviourUnknown, "203.0.113.9:4000"},
		"symmetric":                  {"192.0.2.1>203.0.113.9:4000 192.0.2.2>203.0.113.9:4001", mesh.BehaviourEndpointDependent, ""},
		"symmetric, own port":        {"192.0.2.1>203.0.113.9:51820 192.0.2.2>203.0.113.9:4001", mesh.BehaviourEndpointDependent, "203.0.113.9:51820"},
		"a server at home":           {"192.168.1.1>192.168.1.2:51820 192.0.2.1>203.0.113.9:4000", mesh.BehaviourUnknown, "203.0.113.9:4000"},
		"NAT behind NAT":             {"10.0.0.1>10.0.0.9:7000 192.0.2.1>203.0.113.9:4000", mesh.BehaviourUnknown, "10.0.0.9:7000 203.0.113.9:4000"},
		"port of our own, rewritten": {"192.0.2.1>192.168.1.2:4000", mesh.BehaviourUnknown, "192.168.1.2:4000"},
		"a pool of addresses":        {"192.0.2.1>203.0.113.1:1 192.0.2.2>203.0.113.2:1 192.0.2.3>203.0.113.3:1", mesh.BehaviourUnknown, "203.0.113.1:1 203.0.113.2:1"},
	} {
		var list []observation
		for _, s := range strings.Fields(test.seen) {
			server, mapped, _ := strings.Cut(s, ">")
			list = append(list, observation{netip.MustParseAddr(server), netip.MustParseAddrPort(mapped)})
		}
		var want []netip.AddrPort
		for _, s := range strings.Fields(test.announced) {
			want = append(want, netip.MustParseAddrPort(s))
		}
		if got := mapping(list, own); got != test.mapping {
			t.Errorf("%s: mapping is %s, want %s", name, got, test.mapping)
		}
		if got := announced(list, own); !slices.Equal(got, want) {
			t.Errorf("%s: announced are %v, want %v", name, got, want)
		}
	}
}
