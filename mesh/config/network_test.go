package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// A mistake in a list is the same error in a file and in a flag.
func TestNetworkErrors(t *testing.T) {
	var many []string
	for i := range 129 {
		many = append(many, fmt.Sprintf("10.0.%d.0/24", i))
	}
	long := strings.Repeat("1", 300)
	for _, tt := range []struct{ key, value, want string }{
		{"advertisedNetworks", "10.0.0.0", `"10.0.0.0" is not a network such as 10.0.0.0/8 or 2001:db8::/32`},
		{"advertisedNetworks", "10.0.0.0/33", `"10.0.0.0/33" is not a network such as 10.0.0.0/8 or 2001:db8::/32`},
		{"advertisedNetworks", "fe80::%eth0/64", `"fe80::%eth0/64" is not a network such as 10.0.0.0/8 or 2001:db8::/32`},
		{"advertisedNetworks", long, `"` + long[:100] + `" is not a network such as 10.0.0.0/8 or 2001:db8::/32`},
		{"advertisedNetworks", "10.0.0.0/8,192.168.1.1/24", "192.168.1.1/24 has host bits set; did you mean 192.168.1.0/24?"},
		{"advertisedNetworks", "2001:db8::1/64", "2001:db8::1/64 has host bits set; did you mean 2001:db8::/64?"},
		{"advertisedNetworks", "::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104 is an IPv4-mapped network; write it as an IPv4 network"},
		{"advertisedNetworks", "10.0.0.0/8,::/0,10.0.0.0/8", "duplicate network 10.0.0.0/8"},
		{"advertisedNetworks", "10.1.0.0/16,10.9.0.0/16,::/0,10.0.0.0/8", "10.1.0.0/16 is inside 10.0.0.0/8; leave one of them out"},
		{"advertisedNetworks", "0.0.0.0/0,192.168.0.0/16", "192.168.0.0/16 is inside 0.0.0.0/0; leave one of them out"},
		{"advertisedNetworks", "fd12:3456:789a:bc02::/64", "fd12:3456:789a:bc02::/64 is in the range of mesh addresses"},
		{"advertisedNetworks", "fd12:3456:789a:bc02::1/128", "fd12:3456:789a:bc02::1/128 is in the range of mesh addresses"},
		{"advertisedNetworks", "0.0.0.0/32", "0.0.0.0/32 is in 0.0.0.0/8, which is unspecified"},
		{"advertisedNetworks", "127.0.0.0/8", "127.0.0.0/8 is in 127.0.0.0/8, which is loopback"},
		{"advertisedNetworks", "169.254.1.0/24", "169.254.1.0/24 is in 169.254.0.0/16, which is link-local"},
		{"advertisedNetworks", "239.0.0.0/8", "239.0.0.0/8 is in 224.0.0.0/4, which is multicast"},
		{"advertisedNetworks", "255.255.255.255/32", "255.255.255.255/32 is in 255.255.255.255/32, which is broadcast"},
		{"advertisedNetworks", "::/128", "::/128 is in ::/128, which is unspecified"},
		{"advertisedNetworks", "::1/128", "::1/128 is in ::1/128, which is loopback"},
		{"advertisedNetworks", "::5/128", "::5/128 is in ::/16, which is reserved"},
		{"advertisedNetworks", "fe80::/64", "fe80::/64 is in fe80::/10, which is link-local"},
		{"advertisedNetworks", "ff02::/16", "ff02::/16 is in ff00::/8, which is multicast"},
		{"advertisedNetworks", strings.Join(many, ","), "129 networks, at most 128"},
		{"masquerade", "perhaps", `"perhaps" is not true or false`},
		{"allowedNetworks", "0.0.0.0/0", `"0.0.0.0/0" is not NODENAME=CIDR such as node-2=0.0.0.0/0`},
		{"allowedNetworks", "Box=0.0.0.0/0", `"Box" is not a node name (lower-case letters, digits, - and .)`},
		{"allowedNetworks", "=0.0.0.0/0", `"" is not a node name (lower-case letters, digits, - and .)`},
		{"allowedNetworks", "box=10.0.0.1", `"10.0.0.1" is not a network such as 10.0.0.0/8 or 2001:db8::/32`},
		{"allowedNetworks", "box=10.0.0.1/8", "10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?"},
		{"allowedNetworks", "a=::/0,b=::/0,a=::/0", "duplicate a=::/0"},
		{"siteNetworks", "0.0.0.0/0", "0.0.0.0/0 is too broad for a site; /8 is the broadest"},
		{"siteNetworks", "fc00::/7", "fc00::/7 is too broad for a site; /8 is the broadest"},
		{"siteNetworks", "10.0.0.1/8", "10.0.0.1/8 has host bits set; did you mean 10.0.0.0/8?"},
		{"siteNetworks", "fd12:3456:789a:bc02::/64", "fd12:3456:789a:bc02::/64 is in the range of mesh addresses"},
		{"siteNetworks", "192.168.0.0/16,192.168.1.0/24", "192.168.1.0/24 is inside 192.168.0.0/16; leave one of them out"},
		{"siteOnLink", "2", `"2" is not true or false`},
	} {
		_, err := load("", override("--flag", tt.key, tt.value))
		wantProblems(t, err, "--flag: "+tt.want)
		if strings.HasSuffix(tt.key, "Networks") {
			_, err = load(wirespan(tt.key+": [\""+strings.ReplaceAll(tt.value, ",", `","`)+"\"]\n"), config.Options{})
			wantProblems(t, err, "a.yaml:3: WirespanConfig: "+tt.key+": "+tt.want)
		}
	}
}

func TestNetworks(t *testing.T) {
	c := mustLoad(t, wirespan(`advertisedNetworks: ["::/0", 128.0.0.0/1, 0.0.0.0/1]
allowedNetworks: [box2=0.0.0.0/0, "box2=::/0", box3.example=192.168.1.1/32]
siteNetworks: [10.0.0.0/8, fd00::/8]
`), config.Options{})
	m := c.Mesh()
	if want := prefixes("::/0", "128.0.0.0/1", "0.0.0.0/1"); !reflect.DeepEqual(m.AdvertisedNetworks, want) {
		t.Errorf("advertised %v, want them in the order of the file", m.AdvertisedNetworks)
	}
	wide := prefixes("0.0.0.0/0", "::/0", "192.168.1.1/32")
	want := []mesh.Allowance{{Nodename: "box2", Prefix: wide[0]}, {Nodename: "box2", Prefix: wide[1]}, {Nodename: "box3.example", Prefix: wide[2]}}
	if !reflect.DeepEqual(m.AllowedNetworks, want) {
		t.Errorf("allowed %v", m.AllowedNetworks)
	}
	if want := prefixes("10.0.0.0/8", "fd00::/8"); !reflect.DeepEqual(m.SiteNetworks, want) || m.SiteOnLink {
		t.Errorf("site %v, %v", m.SiteNetworks, m.SiteOnLink)
	}
	// A mistake leaves what was set before.
	list := config.Override{Origin: "--x", Key: "advertisedNetworks", Value: "10.0.0.0/8"}
	c = mustLoad(t, wirespan("advertisedNetworks: [172.16.0.0/12]\n"), config.Options{Overrides: []config.Override{list}})
	if want := prefixes("10.0.0.0/8"); !reflect.DeepEqual(c.AdvertisedNetworks, want) {
		t.Errorf("a flag should replace the list: %v", c.AdvertisedNetworks)
	}
}

func TestFirewallErrors(t *testing.T) {
	const number = " is not a whole number from 0 to 4294967295, decimal or with 0x"
	for _, tt := range []struct{ key, value, want string }{
		{"firewall.enabled", "never", `"never" is not true or false`},
		{"firewall.table", strings.Repeat("x", 256), `firewall.table: "` + strings.Repeat("x", 100) + `" has more than 31 characters`},
		{"firewall.mask", "0x1ffffffff", `"0x1ffffffff"` + number},
		{"firewall.mask", "0x", `"0x"` + number},
		{"firewall.mask", "60h", `"60h"` + number},
		{"firewall.tunnelMark", "-1", `"-1"` + number},
		{"firewall.routingTable", "main", `"main"` + number},
		{"firewall.table", "a b", `firewall.table: "a b" is not a valid nftables name; use a letter, then letters, digits, '_', '-' and '.'`},
		{"firewall.routingTable", "254", "firewall.routingTable: 254 is reserved by the system (253 default, 254 main, 255 local); choose another"},
		{"firewall.rulePriority", "32766", "firewall.rulePriority: 32766 is not from 1 to 32765; the rule must precede that of table main"},
		{"firewall.encryptedMark", "0x80", "firewall.encryptedMark: 0x80 has bits outside firewall.mask (0x60)"},
		{"firewall.tunnelMark", "32", "firewall.tunnelMark: 0x20 equals firewall.encryptedMark; the two marks must differ"},
	} {
		_, err := load("", override("--flag", tt.key, tt.value))
		wantProblems(t, err, "--flag: "+tt.want)
	}
}

func TestNetworkDocumentErrors(t *testing.T) {
	runErrors(t, []errorCase{
		{"types", wirespan("advertisedNetworks: 10.0.0.0/8\nmasquerade: 3\nfirewall:\n    mask: x\n    tabel: y\nlogging:\n    jsn: true\n"), []string{
			"a.yaml:3: advertisedNetworks: expected a list of at most 1024 strings",
			"a.yaml:4: WirespanConfig: masquerade: expected true or false",
			"a.yaml:6: WirespanConfig: firewall.mask: expected a whole number",
			`a.yaml:9: unknown keys found during decoding: logging.jsn (line 9; did you mean "json"?)`,
			`a.yaml:7: unknown keys found during decoding: firewall.tabel (line 7; did you mean "table"?)`,
		}},
		{"near key", wirespan("advertisedNetwork: []\n"), []string{
			`a.yaml:3: unknown keys found during decoding: advertisedNetwork (line 3; did you mean "advertisedNetworks"?)`,
		}},
		{
			"without a firewall", wirespan("firewall: {enabled: false}\nadvertisedNetworks: [10.0.0.0/8]\ningress: {defaultAction: block}\n"),
			[]string{"a.yaml:3: advertisedNetworks needs firewall.enabled", "a.yaml:3: ingress needs firewall.enabled"},
		},
		{"masquerade alone", wirespan("siteOnLink: true\nmasquerade: true\n"), []string{"a.yaml:4: masquerade needs advertisedNetworks"}},
		{"rotation of mounted keys", wirespan("identityDir: /id\nkeyRotation: 720h\n"), []string{"a.yaml:4: keyRotation needs its keys in the state directory: leave out identityDir"}},
		{"rotation without a pause", wirespan("keyRotation: 9s\n"), []string{"a.yaml:3: WirespanConfig: keyRotation: 9s is too short: at least 10s, or 0 for never"}},
		{"marks", wirespan("firewall:\n    table: mesh\n    tunnelMark: 0x20\n"), []string{
			"a.yaml:5: firewall.tunnelMark: 0x20 equals firewall.encryptedMark; the two marks must differ",
		}},
		// The default is at fault only because of another setting.
		{"mask", docs("# c\n" + wirespan("firewall:\n    mask: 0x40\n")), []string{
			"a.yaml:2: firewall.encryptedMark: 0x20 has bits outside firewall.mask (0x40)",
		}},
	})
	_, err := load("", override("--masquerade", "masquerade", "true"))
	wantProblems(t, err, "--masquerade: masquerade needs advertisedNetworks")
	_, err = load(wirespan("advertisedNetworks: [10.0.0.0/8]\nmasquerade: true\n"), override("--advertised-networks", "advertisedNetworks", ""))
	wantProblems(t, err, "a.yaml:4: masquerade needs advertisedNetworks")
}
