package host

import "testing"

// The gateway is the next hop of encrypted packets, and never one of the tunnel's routes.
func TestGateway(t *testing.T) {
	const tunnel = `
		route add default via 192.0.1.254 dev up1 table 180
		rule add priority 100 fwmark 0x40/0x60 lookup 180
		rule add priority 32768 fwmark 0/0x60 lookup 180`
	for name, test := range map[string]struct{ script, want string }{
		"none":             {"", ""},
		"main":             {"route add default via 192.0.0.254", "192.0.0.254 192.0.0.1"},
		"beside a tunnel":  {"route add default via 192.0.0.254" + tunnel, "192.0.0.254 192.0.0.1"},
		"the tunnel alone": {"route add default via 192.0.1.254 table 180\nrule add priority 100 lookup 180", ""},
		"encrypted packets take another way": {`route add default via 192.0.0.254
			route add default via 192.0.1.254 table 202
			rule add fwmark 0x20/0x60 lookup 202`, "192.0.1.254 192.0.1.1"},
		"no next hop": {"route add default dev up0", ""},
		"a next hop that is not on the link": {`route add 198.51.100.0/24 via 192.0.1.254
			route add default via 198.51.100.1 dev up0 onlink`, ""},
		"of IPv6":     {"route add 0.0.0.0/0 via inet6 fd00::fe dev up0", ""},
		"unreachable": {"route add unreachable default", ""},
	} {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			script(t, test.script)
			g, err := New(Config{EncryptedMark: 0x20, RoutingTable: 180}).Gateway()
			got := ""
			if err == nil {
				got = g.Address.String() + " " + g.Source.String()
			}
			if got != test.want {
				t.Errorf("%q, %v, want %q", got, err, test.want)
			}
		})
	}
}
