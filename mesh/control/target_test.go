package control

import (
	"testing"

	"github.com/wirespan/wirespan/firewall"
)

func TestParseTarget(t *testing.T) {
	for s, want := range map[string]Target{
		"10.1.2.3":          {host: "10.1.2.3"},
		"10.1.2.3:80":       {host: "10.1.2.3", port: 80, protocol: firewall.ProtocolTCP},
		"10.1.2.3:53/udp":   {host: "10.1.2.3", port: 53, protocol: firewall.ProtocolUDP},
		"10.1.2.3/icmp":     {host: "10.1.2.3", protocol: firewall.ProtocolICMP},
		"fd00::1":           {host: "fd00::1"},
		"fd00::1/icmpv6":    {host: "fd00::1", protocol: firewall.ProtocolICMPv6},
		"[fd00::1]":         {host: "fd00::1"},
		"[fd00::1]:443/tcp": {host: "fd00::1", port: 443, protocol: firewall.ProtocolTCP},
		"box2":              {host: "box2"},
		"box2:22":           {host: "box2", port: 22, protocol: firewall.ProtocolTCP},
	} {
		if got, err := ParseTarget(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", ":80", "10.1.2.3:0", "10.1.2.3:70000", "10.1.2.3:http", "10.1.2.3:80/sctp", "10.1.2.3/24", "box2:", "fd00:0:0:0:0:0:0:0:1"} {
		if got, err := ParseTarget(s); err == nil {
			t.Errorf("%q was taken as %+v", s, got)
		}
	}
}
