package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

func TestPortMappingIsShown(t *testing.T) {
	for name, test := range map[string]struct {
		mapping mesh.PortMapping
		want    []string
	}{
		"mapped": {mesh.PortMapping{
			Protocol: "PCP", Gateway: netip.MustParseAddr("192.168.1.1"), External: netip.MustParseAddr("11.90.0.7"),
			Ports: []mesh.MappedPort{
				{Use: "wireguard", Network: "udp", Port: 51820, External: netip.MustParseAddrPort("11.90.0.7:4000"), Expires: time.Now()},
				{Use: "discovery", Network: "tcp", Port: 443, Reason: "advertiseDiscovery names where it is reached"},
			},
		}, []string{"PCP 192.168.1.1 11.90.0.7", "udp/51820 11.90.0.7:4000", "tcp/443 - - discovery: advertiseDiscovery names where it is reached"}},
		"not mapped": {mesh.PortMapping{Gateway: netip.MustParseAddr("192.168.1.1"), Reason: "there is no NAT"}, []string{"none 192.168.1.1 -", "because there is no NAT"}},
		"no gateway": {mesh.PortMapping{Reason: "there is none"}, []string{"none - -", "because there is none"}},
	} {
		var b strings.Builder
		if err := printNetcheck(&b, mesh.Netcheck{PortMapping: test.mapping}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(b.String()), " ")
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q lacks %q", name, text, want)
			}
		}
	}
	if got := mappedLine(mesh.PortMapping{}); got != "" {
		t.Errorf("status shows %q of nothing", got)
	}
}
