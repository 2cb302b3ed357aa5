package config_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh/config"
)

func TestParseForward(t *testing.T) {
	ports := func(from, to uint16) firewall.PortRange { return firewall.PortRange{From: from, To: to} }
	const local, mesh, tcp, udp = config.ForwardLocal, config.ForwardMesh, firewall.ProtocolTCP, firewall.ProtocolUDP
	for _, tt := range []struct {
		in   string
		want config.Forward
		text string // of String, where that differs
	}{
		{"8080:db:80", config.Forward{Kind: local, Protocol: tcp, Ports: ports(8080, 8080), Target: "db", TargetPorts: ports(80, 80)}, ""},
		{"localhost:8080:db.mesh:80/tcp", config.Forward{Kind: local, Protocol: tcp, Ports: ports(8080, 8080), Target: "db.mesh", TargetPorts: ports(80, 80)}, "8080:db.mesh:80"},
		{"127.0.0.2:53:db:53/udp", config.Forward{Kind: local, Protocol: udp, Bind: netip.MustParseAddr("127.0.0.2"), Ports: ports(53, 53), Target: "db", TargetPorts: ports(53, 53)}, ""},
		{"*:1-1000:db:2-1001", config.Forward{Kind: local, Protocol: tcp, Bind: netip.IPv6Unspecified(), Ports: ports(1, 1000), Target: "db", TargetPorts: ports(2, 1001)}, ""},
		{"[::1]:80:[fd00::1]:81", config.Forward{Kind: local, Protocol: tcp, Bind: netip.IPv6Loopback(), Ports: ports(80, 80), Target: "fd00::1", TargetPorts: ports(81, 81)}, ""},
		{"0.0.0.0:80:10.0.0.1:81", config.Forward{Kind: local, Protocol: tcp, Bind: netip.IPv4Unspecified(), Ports: ports(80, 80), Target: "10.0.0.1", TargetPorts: ports(81, 81)}, ""},
		{"/run/db.sock:db:5432", config.Forward{Kind: local, Protocol: tcp, Socket: "/run/db.sock", Target: "db", TargetPorts: ports(5432, 5432)}, ""},
		{"unix:/run/db.sock:db:5432", config.Forward{Kind: local, Protocol: tcp, Socket: "/run/db.sock", Target: "db", TargetPorts: ports(5432, 5432)}, "/run/db.sock:db:5432"},
		{"80:localhost:8080", config.Forward{Kind: mesh, Protocol: tcp, Ports: ports(80, 80), Target: "localhost", TargetPorts: ports(8080, 8080)}, ""},
		{"80:127.0.0.1:8080,proxy,allow=web,allow=10.0.0.0/8,allow=[fd00::1]", config.Forward{
			Kind: mesh, Protocol: tcp, Ports: ports(80, 80), Target: "127.0.0.1", TargetPorts: ports(8080, 8080),
			Proxy: true, Allow: []string{"web", "10.0.0.0/8", "fd00::1"},
		}, "80:127.0.0.1:8080,proxy,allow=web,allow=10.0.0.0/8,allow=fd00::1"},
		{"53:[::1]:53/udp,allow=a", config.Forward{Kind: mesh, Protocol: udp, Ports: ports(53, 53), Target: "::1", TargetPorts: ports(53, 53), Allow: []string{"a"}}, ""},
		{"80:/run/udp,proxy", config.Forward{Kind: mesh, Protocol: tcp, Ports: ports(80, 80), TargetSocket: "/run/udp", Proxy: true}, ""},
		{"80:[::ffff:10.0.0.1]:80", config.Forward{Kind: mesh, Protocol: tcp, Ports: ports(80, 80), Target: "10.0.0.1", TargetPorts: ports(80, 80)}, "80:10.0.0.1:80"},
	} {
		got, err := config.ParseForward(tt.in, tt.want.Kind)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", tt.in, got, err, tt.want)
		}
		if tt.text == "" {
			tt.text = tt.in
		}
		if got.String() != tt.text {
			t.Errorf("%s: text %s, want %s", tt.in, got, tt.text)
		}
	}
}

func TestParseForwardErrors(t *testing.T) {
	const local, mesh = config.ForwardLocal, config.ForwardMesh
	var manyPeers strings.Builder
	for i := range 65 {
		fmt.Fprintf(&manyPeers, ",allow=n%d", i)
	}
	for _, tt := range []struct {
		kind     config.ForwardKind
		in, want string
	}{
		{local, "", "expected [BIND:]PORT:NODE:PORT"},
		{local, "80", "expected [BIND:]PORT"},
		{local, "db:80", "expected [BIND:]PORT"},
		{local, "1:2:3:4:5", "IPv6 addresses in brackets"},
		{local, "80:fd00::1:80", "IPv6 addresses in brackets"},
		{local, "0:db:80", `port to listen on: "0" is not a port`},
		{local, "80:db:65536", `target port: "65536" is not a port`},
		{local, "80:db:+80", `target port: "+80" is not a port`},
		{local, "80-:db:80", `port to listen on: "" is not a port`},
		{local, "81-80:db:80", "range 81-80 ends before it starts"},
		{local, "1-1001:db:1-1001", "range 1-1001 has more than 1000 ports"},
		{local, "1-10:db:1-9", "10 ports to listen on can't lead to 9 target ports"},
		{local, "1-2:db:1", "2 ports to listen on can't lead to 1 target ports"},
		{local, ":80:db:80", "address to listen on: it is empty: write *"},
		{local, "host:80:db:80", `address to listen on: "host" is not an IP address`},
		{local, "[127.0.0.1]:80:db:80", `address to listen on: "[127.0.0.1]" is not`},
		{local, "[fe80::1%eth0]:80:db:80", "has a zone"},
		{local, "[::1:80:db:80", "the brackets do not match"},
		{local, "]80:db:80", "the brackets do not match"},
		{local, "80:localhost:80", "target localhost is not a node"},
		{local, "80:127.0.0.1:80", "target 127.0.0.1 is not a node"},
		{local, "80::80", "target: it has no host"},
		{local, "80:[db]:80", "brackets are for IPv6"},
		{local, "80:a b:80", `target: "a b" is not a host name`},
		{local, "80:0.0.0.0:80", "no address of one host"},
		{local, "80:db:80/sctp", `protocol "sctp" is neither tcp nor udp`},
		{local, "/s:db:80/udp", "a unix socket can't forward UDP"},
		{local, "/s:80:db:80", "expected [BIND:]PORT"},
		{local, "/s", "expected [BIND:]PORT"},
		{local, "unix:s:db:80", `socket to listen on: "s" is not an absolute path`},
		{local, "/s/:db:80", `"/s/" is a directory`},
		{local, "/" + strings.Repeat("a", 107) + ":db:80", "longer than 107 bytes"},
		{local, "/a\nb:db:80", "the path is not printable"},
		{local, "80:db:80,proxy", "option proxy is for mesh forwards only"},
		{local, "80:db:80,allow=a", "option allow is for mesh forwards only"},
		{local, "80:db:80,", `option "" is unknown`},
		{mesh, "80", "expected PORT:HOST:PORT"},
		{mesh, "1.2.3.4:80:db:80", "a mesh forward listens on the mesh address"},
		{mesh, "80:db", "expected PORT:HOST:PORT"},
		{mesh, "80:/s:80", `unexpected "80" after the path`},
		{mesh, "80-81:/s", "a range of ports can't lead to one socket"},
		{mesh, "80:unix:", `target socket: "" is not an absolute path`},
		{mesh, "80:db:80,proxy,proxy", "option proxy is given twice"},
		{mesh, "80:db:80/udp,proxy", "the PROXY protocol is for TCP only"},
		{mesh, "80:db:80,allow=a,allow=a", "a is given twice"},
		{mesh, "80:db:80,allow", "option allow: it names no peer"},
		{mesh, "80:db:80,allow=10.0.0.1/8", "write 10.0.0.0/8"},
		{mesh, "80:db:80,allow=x/8", `"x/8" is not a prefix`},
		{mesh, "80:db:80,allow=fe80::1%a", "has a zone"},
		{mesh, "80:db:80,alow=a", `option "alow=a" is unknown: there are proxy and allow=PEER`},
		{mesh, "80:db:80" + manyPeers.String(), "more than 64 peers"},
		{mesh, "80:db:80" + strings.Repeat(",allow=a", 1000), "longer than 4096 bytes"},
	} {
		f, err := config.ParseForward(tt.in, tt.kind)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), string(tt.kind)+" forward ") {
			t.Errorf("%s: %v, %v; want %q", tt.in, f, err, tt.want)
		}
	}
}

func TestCheckForwards(t *testing.T) {
	const both = "listen on the same "
	for _, tt := range []struct{ local, mesh, want string }{
		{"80:a:80 81:a:80 80:a:80/udp /s:a:80", "80:b:80 80:b:80/udp", ""},
		{"127.0.0.1:80:a:80 [::1]:80:a:80 127.0.0.2:80:a:80", "", ""},
		{"0.0.0.0:80:a:80 [::1]:80:a:80", "", ""},
		{"80:a:80 80:b:80", "", both + "tcp port"},
		{"80-90:a:80-90 85:b:80", "", both + "tcp port"},
		{"80:a:80 127.0.0.1:80:b:80", "", both + "tcp port"},
		{"[::1]:80:a:80/udp 80:b:80/udp", "", both + "udp port"},
		{"80:a:80 0.0.0.0:80:b:80", "", both + "tcp port"},
		{"*:80:a:80 10.0.0.1:80:b:80", "", both + "tcp port"},
		{"*:80:a:80 0.0.0.0:80:b:80", "", both + "tcp port"},
		{"/a/s:a:80 /a/./s:b:80", "", both + "socket"},
		{"", "80:b:80 79-80:b:80-81,allow=a", both + "tcp port"},
		{"1-1000:a:1-1000 1001-2000:a:1-1000 2001-3000:a:1-1000 3001-4000:a:1-1000 4001-4097:a:1-97", "", "forwards listen on 4097 ports: at most 4096"},
		{strings.Repeat("80:a:80 ", 257), "", "257 forwards: at most 256"},
	} {
		var set []config.Forward
		for kind, list := range map[config.ForwardKind]string{config.ForwardLocal: tt.local, config.ForwardMesh: tt.mesh} {
			for _, s := range strings.Fields(list) {
				f, err := config.ParseForward(s, kind)
				if err != nil {
					t.Fatal(err)
				}
				set = append(set, f)
			}
		}
		err := config.CheckForwards(set)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q %q: %v, want %q", tt.local, tt.mesh, err, tt.want)
		}
	}
}

// FuzzParseForward: what is accepted is within limits, and reads back as it was.
func FuzzParseForward(f *testing.F) {
	for _, s := range []string{
		"8080:db:80", "[::1]:1-10:[fd00::1]:11-20/udp", "*:80:db:80", "unix:/s:db:80", "80:/s,proxy",
		"80:h:80,proxy,allow=a,allow=fd00::/8", "80:[::ffff:1.2.3.4]:1", "80:/a/udp",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, local bool) {
		kind := config.ForwardMesh
		if local {
			kind = config.ForwardLocal
		}
		got, err := config.ParseForward(s, kind)
		if err != nil {
			return
		}
		again, err := config.ParseForward(got.String(), kind)
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("%q became %q: %+v, then %+v, %v", s, got, got, again, err)
		}
		if err := config.CheckForwards([]config.Forward{got}); err != nil {
			t.Errorf("%q alone: %v", s, err)
		}
		listens := got.Socket != "" || got.Ports.From > 0 && got.Ports.From <= got.Ports.To
		leads := got.TargetSocket != "" || got.Target != "" && got.TargetPorts.To-got.TargetPorts.From == got.Ports.To-got.Ports.From
		if !listens || !leads || got.Protocol == firewall.ProtocolUDP && (got.Proxy || got.Socket != "") {
			t.Errorf("%q: %+v", s, got)
		}
	})
}
