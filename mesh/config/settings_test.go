package config_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func override(origin, key, value string) config.Options {
	return config.Options{Overrides: []config.Override{{Origin: origin, Key: key, Value: value}}}
}

func TestSettingsTable(t *testing.T) {
	var names strings.Builder
	seen := map[string]bool{}
	for s := range config.Settings() {
		fmt.Fprintf(&names, "%s --%s %s\n", s.Key, s.Flag(), s.Env())
		if seen[s.Flag()] || s.Help == "" || !strings.HasSuffix(s.Help, ".") || s.Default == "" && s.Example == "" {
			t.Errorf("%s: wants a unique flag, help that ends with a full stop, and a default or example", s.Key)
		}
		seen[s.Flag()] = true
		values := append([]string{s.Default, s.Example}, s.Values...)
		for _, v := range values {
			if v == "" {
				continue
			}
			if _, err := load("", override("--x", s.Key, v)); err != nil {
				t.Errorf("%s: its own value %q: %v", s.Key, v, err)
			}
		}
	}
	golden(t, "settings.txt", []byte(names.String()))
	if !regexp.MustCompile(`(?m)^listenPort --listen-port WIRESPAN_LISTEN_PORT$`).MatchString(names.String()) {
		t.Error("names are not derived from the key")
	}
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, "", config.Options{})
	want := config.Wirespan{
		Backend: config.BackendAuto, ListenPort: 51820, InterfaceName: "wirespan0",
		MachineType: mesh.MachineUnknown, DiscoveryListen: ":51820", HoldNetworks: 24 * time.Hour, EndpointStrategy: config.StrategyRace, PortMapping: config.PortMappingAuto,
		Relay: config.RelayAuto, RelayPorts: config.PortRange{First: 49152, Last: 49407}, RelayBandwidth: 200, RelayUser: "wirespan",
		Logging:  config.Logging{Level: "info"},
		Firewall: config.Firewall{Enabled: true, Numbers: firewall.Numbers{Table: "wirespan", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500}},
		Proxy:    config.Proxy{Egress: config.EgressMesh, User: "wirespan"},
		DNS:      config.DNS{Enabled: true, Domain: "mesh", Register: true},
		Limits:   config.Limits{Connections: 4096, UDPAssociations: 1024, IdleTimeout: 24 * time.Hour},
		Ingress:  config.Ingress{Default: firewall.ActionAccept},
	}
	if !reflect.DeepEqual(c.Wirespan, want) {
		t.Errorf("%+v\nwant %+v", c.Wirespan, want)
	}
}

const everySetting = `backend: netstack
listenPort: 0
interfaceName: mesh1
stateDir: memory
keyRotation: 0h
identityDir: /run/secrets/id
controlSocket: /run/w.sock
mac: 02:00:5e:10:00:01
nodename: node-1
hostname: Node-1.example.org
machineType: worker
advertisedNetworks: [192.168.1.0/24, "2001:db8:1::/64"]
masquerade: true
allowedNetworks: ["box2=0.0.0.0/0"]
holdNetworks: 90m
siteNetworks: [192.168.0.0/16]
siteOnLink: true
endpointStrategy: cycle
portMapping: never
peerEndpoints: [node-2=203.0.113.5:51820]
peerEndpointFilters: [10.0.0.0/8]
peersFile: /etc/peers.yaml
stunServers: [stun.example.org, "[2001:db8::1]:1234"]
answerStun: false
relay: offer
relayPorts: 50000-50001
relayBandwidth: 20
relayNetworks: [10.0.0.0/8]
relayServers: ["turn:turn.example.org", "turn:192.0.2.1:99?transport=tcp", "turns:[2001:db8::1]"]
relayUser: them
relayPasswordFile: /run/secrets/r
leaveOnStop: false
announceAsMember: false
addressFilters: [docker0, "!10.0.0.0/8"]
discoveryListen: "[::1]:3000"
advertiseDiscovery: [mesh.example.org, "[2001:db8::1]:443"]
noClockFix: true
memoryBudget: 64MiB
controlSocketMode: 0660
controlSocketGroup: adm
healthListen: 9090
localForwards: ["8080:node-2:80", "5353:node-2:53/udp"]
meshForwards: ["80:127.0.0.1:8080,proxy,allow=node-2"]
logging:
    level: debug
    json: true
firewall:
    enabled: true
    table: mesh
    routingTable: 181
    rulePriority: 100
    encryptedMark: 0x1000
    tunnelMark: 8192
    mask: 0x3000
proxy:
    listen: [1080, "0.0.0.0:1081", /run/p.sock]
    egress: direct
    user: me
    passwordFile: /run/secrets/p
    allowUnauthenticated: true
dns:
    enabled: false
    listen: ["[::1]:5300"]
    domain: example.org
    upstreams: [192.0.2.53, "[2001:db8::53]:5353"]
    register: false
limits:
    connections: 10
    udpAssociations: 20
    idleTimeout: 1m
kubernetes:
    enabled: false
    kubeconfig: /k
    nodename: kube-1
`

func wantEverySetting(t *testing.T) config.Wirespan {
	t.Helper()
	w := config.Wirespan{
		Backend: config.BackendNetstack, InterfaceName: "mesh1", StateDir: config.StateMemory,
		IdentityDir: "/run/secrets/id", ControlSocket: "/run/w.sock", MAC: []byte{2, 0, 0x5e, 0x10, 0, 1},
		Nodename: "node-1", Hostname: "Node-1.example.org", MachineType: mesh.MachineWorker, LeaveOnStop: new(bool), AnnounceAsMember: new(bool),
		DiscoveryListen: "[::1]:3000", AdvertiseDiscovery: []string{"mesh.example.org", "[2001:db8::1]:443"},
		NoClockFix: true, MemoryBudget: 64 << 20, Logging: config.Logging{Level: "debug", JSON: true},
		AdvertisedNetworks: prefixes("192.168.1.0/24", "2001:db8:1::/64"), Masquerade: true,
		AllowedNetworks: []mesh.Allowance{{Nodename: "box2", Prefix: prefixes("0.0.0.0/0")[0]}},
		HoldNetworks:    90 * time.Minute,
		SiteNetworks:    prefixes("192.168.0.0/16"), SiteOnLink: true, EndpointStrategy: config.StrategyCycle, PortMapping: config.PortMappingNever,
		PeerEndpoints:       []mesh.PinnedEndpoint{{Nodename: "node-2", Endpoint: netip.MustParseAddrPort("203.0.113.5:51820")}},
		PeerEndpointFilters: []mesh.Filter{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}},
		PeersFile:           "/etc/peers.yaml",
		StunServers:         []string{"stun.example.org:3478", "[2001:db8::1]:1234"}, AnswerStun: new(bool),
		Relay: config.RelayOffer, RelayPorts: config.PortRange{First: 50000, Last: 50001}, RelayBandwidth: 20, RelayNetworks: prefixes("10.0.0.0/8"),
		RelayServers: []mesh.RelayServer{
			{Host: "turn.example.org", Port: 3478, Transport: mesh.RelayUDP},
			{Host: "192.0.2.1", Port: 99, Transport: mesh.RelayTCP},
			{Host: "2001:db8::1", Port: 5349, Transport: mesh.RelayTLS},
		},
		RelayUser: "them", RelayPasswordFile: "/run/secrets/r",
		Firewall: config.Firewall{Enabled: true, Numbers: firewall.Numbers{
			Table: "mesh", RoutingTable: 181, RulePriority: 100, EncryptedMark: 0x1000, TunnelMark: 0x2000, Mask: 0x3000,
		}},
		Kubernetes:        config.Kubernetes{Enabled: new(bool), Kubeconfig: "/k", Nodename: "kube-1"},
		ControlSocketMode: 0o660, ControlSocketGroup: "adm", HealthListen: config.Listener{Network: "tcp", Address: "localhost:9090"},
		Proxy: config.Proxy{
			Listen: []config.Listener{{Network: "tcp", Address: "localhost:1080"}, {Network: "tcp", Address: "0.0.0.0:1081"}, {Network: "unix", Address: "/run/p.sock"}},
			Egress: config.EgressDirect, User: "me", PasswordFile: "/run/secrets/p", AllowUnauthenticated: true,
		},
		DNS: config.DNS{
			Listen: []config.Listener{{Network: "tcp", Address: "[::1]:5300"}}, Domain: "example.org",
			Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::53]:5353")},
		},
		Limits:  config.Limits{Connections: 10, UDPAssociations: 20, IdleTimeout: time.Minute},
		Ingress: config.Ingress{Default: firewall.ActionAccept},
	}
	for _, s := range []string{"8080:node-2:80", "5353:node-2:53/udp"} {
		w.LocalForwards = append(w.LocalForwards, mustForward(t, s, config.ForwardLocal))
	}
	w.MeshForwards = append(w.MeshForwards, mustForward(t, "80:127.0.0.1:8080,proxy,allow=node-2", config.ForwardMesh))
	for _, s := range []string{"docker0", "!10.0.0.0/8"} {
		f, err := mesh.ParseAddressFilter(s)
		if err != nil {
			t.Fatal(err)
		}
		w.AddressFilters = append(w.AddressFilters, f)
	}
	return w
}

func mustForward(t *testing.T, s string, kind config.ForwardKind) config.Forward {
	t.Helper()
	f, err := config.ParseForward(s, kind)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEverySetting(t *testing.T) {
	c := mustLoad(t, wirespan(everySetting), config.Options{})
	if want := wantEverySetting(t); !reflect.DeepEqual(c.Wirespan, want) {
		t.Errorf("%+v\nwant %+v", c.Wirespan, want)
	}
	m := c.Mesh()
	if m.MachineType != mesh.MachineWorker || m.AnnounceAsMember || len(m.AddressFilters) != 2 {
		t.Errorf("Mesh %+v", m)
	}
	if len(m.AdvertisedNetworks) != 2 || len(m.AllowedNetworks) != 1 || len(m.SiteNetworks) != 1 || !m.SiteOnLink {
		t.Errorf("Mesh %+v", m)
	}
}

func TestEverySettingAsOverride(t *testing.T) {
	values := map[string]string{
		"backend": "netstack", "listenPort": "0", "interfaceName": "mesh1", "stateDir": "memory",
		"identityDir": "/run/secrets/id", "keyRotation": "0", "controlSocket": "/run/w.sock", "mac": "02:00:5e:10:00:01",
		"nodename": "node-1", "hostname": "Node-1.example.org", "machineType": "worker", "leaveOnStop": "false",
		"announceAsMember": "false", "addressFilters": "docker0, !10.0.0.0/8,", "discoveryListen": "[::1]:3000",
		"advertiseDiscovery": "mesh.example.org,[2001:db8::1]:443", "noClockFix": "1", "memoryBudget": "65536 KiB",
		"advertisedNetworks": "192.168.1.0/24,2001:db8:1::/64", "masquerade": "true", "allowedNetworks": "box2=0.0.0.0/0", "holdNetworks": "90m",
		"siteNetworks": "192.168.0.0/16", "siteOnLink": "true", "endpointStrategy": "cycle", "portMapping": "never",
		"peerEndpoints": "node-2=203.0.113.5:51820", "peerEndpointFilters": "10.0.0.0/8",
		"peersFile": "/etc/peers.yaml", "stunServers": "stun.example.org,[2001:db8::1]:1234", "answerStun": "false",
		"relay": "offer", "relayPorts": "50000-50001", "relayBandwidth": "20", "relayNetworks": "10.0.0.0/8",
		"relayServers": "turn:turn.example.org,turn:192.0.2.1:99?transport=tcp,turns:[2001:db8::1]:5349?transport=tcp",
		"relayUser":    "them", "relayPasswordFile": "/run/secrets/r",
		"logging.level": "debug", "logging.json": "true",
		"firewall.enabled": "true", "firewall.table": "mesh", "firewall.routingTable": "181", "firewall.rulePriority": "100",
		"firewall.encryptedMark": "0x1000", "firewall.tunnelMark": "8192", "firewall.mask": "0x3000",
		"controlSocketMode": "0660", "controlSocketGroup": "adm", "healthListen": "localhost:9090",
		"localForwards": " 8080:node-2:80  5353:node-2:53/udp", "meshForwards": "80:127.0.0.1:8080,proxy,allow=node-2",
		"proxy.listen": "localhost:1080,0.0.0.0:1081,unix:/run/p.sock", "proxy.egress": "direct", "proxy.user": "me",
		"proxy.passwordFile": "/run/secrets/p", "proxy.allowUnauthenticated": "true",
		"dns.enabled": "false", "dns.listen": "[::1]:5300", "dns.domain": "Example.org.",
		"dns.upstreams": "192.0.2.53,[2001:db8::53]:5353", "dns.register": "false",
		"kubernetes.enabled": "false", "kubernetes.kubeconfig": "/k", "kubernetes.nodename": "kube-1",
		"limits.connections": "10", "limits.udpAssociations": "20", "limits.idleTimeout": "60s",
	}
	var options config.Options
	for s := range config.Settings() {
		value, covered := values[s.Key]
		if !covered {
			t.Errorf("no value for %s", s.Key)
		}
		options.Overrides = append(options.Overrides, config.Override{Origin: s.Env(), Key: s.Key, Value: value})
	}
	c := mustLoad(t, "", options)
	if want := wantEverySetting(t); !reflect.DeepEqual(c.Wirespan, want) {
		t.Errorf("%+v\nwant %+v", c.Wirespan, want)
	}
}

func TestPrecedence(t *testing.T) {
	file := wirespan("listenPort: 1\nhostname: from-file\naddressFilters: [a, b]\n")
	legacy := "machine: {network: {hostname: from-legacy}}\n"
	env := config.Override{Origin: "WIRESPAN_X", Key: "listenPort", Value: "2"}
	flag := config.Override{Origin: "--x", Key: "listenPort", Value: "3"}
	list := config.Override{Origin: "--x", Key: "addressFilters", Value: "c"}
	none := config.Override{Origin: "--x", Key: "addressFilters", Value: ""}
	for _, tt := range []struct {
		name, yaml string
		overrides  []config.Override
		port       uint16
		hostname   string
		filters    int
	}{
		{"default", "", nil, 51820, "", 0},
		{"machine configuration", legacy, nil, 51820, "", 0},
		{"file", docs(legacy, file), nil, 1, "from-file", 2},
		{"environment", file, []config.Override{env}, 2, "from-file", 2},
		{"flag", file, []config.Override{env, flag}, 3, "from-file", 2},
		{"a list replaces", file, []config.Override{list}, 1, "from-file", 1},
		{"an empty list too", file, []config.Override{none}, 1, "from-file", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, tt.yaml, config.Options{Overrides: tt.overrides})
			if c.ListenPort != tt.port || c.Hostname != tt.hostname || len(c.AddressFilters) != tt.filters {
				t.Errorf("port %d, hostname %q, filters %v", c.ListenPort, c.Hostname, c.AddressFilters)
			}
		})
	}
}

func TestSettingErrors(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ key, value, want string }{
		{"backend", "kernel", `"kernel" is not one of auto, tun, netstack`},
		{"listenPort", "65536", `"65536" is not a port number (0 to 65535)`},
		{"listenPort", "-1", `"-1" is not a port number (0 to 65535)`},
		{"interfaceName", "sixteen-letters-", `"sixteen-letters-" is not an interface name: it is longer than 15 bytes`},
		{"interfaceName", "a/b", `"a/b" is not an interface name: it contains '/'`},
		{"interfaceName", "a b", `"a b" is not an interface name: it contains ' '`},
		{"interfaceName", "..", `".." is not an interface name: the kernel reserves it`},
		{"stateDir", "a\x00b", `"a\x00b" is not a path`},
		{"controlSocket", "/" + long, "the path has 301 bytes, but a unix socket allows at most 107"},
		{"mac", "02:00:5e:10:00", `"02:00:5e:10:00" is not a hardware address of 6 or 8 bytes`},
		{"mac", "02-00-5e-10-00-01", `"02-00-5e-10-00-01" is not a hardware address of 6 or 8 bytes`},
		{"mac", "01:00:5e:10:00:01", `"01:00:5e:10:00:01" is a zero or multicast address`},
		{"mac", "00:00:00:00:00:00", `"00:00:00:00:00:00" is a zero or multicast address`},
		{"nodename", "Node_1", `"Node_1" is not a node name (lower-case letters, digits, - and .)`},
		{"hostname", "a..b", `"a..b" is not a host name`},
		{"hostname", long, "the name is longer than 253 characters"},
		{"machineType", "controlplane", `"controlplane" is not one of worker, unknown`},
		{"leaveOnStop", "maybe", `"maybe" is not true or false`},
		{"announceAsMember", "2", `"2" is not true or false`},
		{"addressFilters", long, `address filter "` + long[:100] + `" is too long`},
		{"discoveryListen", "51820", `"51820" is not host:port`},
		{"discoveryListen", "::1", `"::1" has no port`},
		{"discoveryListen", "[::1]", `"[::1]" has no port`},
		{"discoveryListen", "[1.2.3.4]:1", "expected an IPv6 address in the brackets"},
		{"advertiseDiscovery", "a,:443", `":443" has no host`},
		{"advertiseDiscovery", "fe80::1%eth0", `"fe80::1%eth0" has a zone, which means nothing on another host`},
		{"advertiseDiscovery", "https://a", `"//a" is not a port number (0 to 65535)`},
		{"memoryBudget", "64MB", `"64MB" is not a size such as 64MiB (bytes, KiB, MiB or GiB)`},
		{"memoryBudget", "0", `"0" is not a size such as 64MiB (bytes, KiB, MiB or GiB)`},
		{"memoryBudget", "-1", `"-1" is not a size such as 64MiB (bytes, KiB, MiB or GiB)`},
		{"memoryBudget", "KiB", `"KiB" is not a size such as 64MiB (bytes, KiB, MiB or GiB)`},
		{"memoryBudget", "8589934592GiB", `"8589934592GiB" is not a size such as 64MiB (bytes, KiB, MiB or GiB)`},
		{"logging.level", "loud", `"loud" is not one of trace, debug, info, warn, error`},
		{"controlSocketMode", "0777", `"0777" is not the mode of a socket, such as 0600, 0660 or 0666`},
		{"controlSocketMode", "060", `"060" is not the mode of a socket, such as 0600, 0660 or 0666`},
		{"healthListen", "0", `"0" is not PORT or ADDRESS:PORT (ADDRESS is an IP address; 0.0.0.0 and [::] mean all)`},
		{"healthListen", "/run/s", `"/run/s" is not PORT or ADDRESS:PORT (ADDRESS is an IP address; 0.0.0.0 and [::] mean all)`},
		{"proxy.listen", ":1080", `":1080" is not PORT or ADDRESS:PORT (ADDRESS is an IP address; 0.0.0.0 and [::] mean all)`},
		{"proxy.listen", "unix:run/p", `"unix:run/p": the path of a socket begins with /`},
		{"proxy.listen", "0.0.0.0:1080", "proxy.listen: other hosts reach 0.0.0.0:1080: set proxy.passwordFile, or allow them all with proxy.allowUnauthenticated"},
		{"proxy.egress", "all", `"all" is not one of mesh, direct`},
		{"proxy.user", "a:b", "a user name has 1 to 255 bytes, and no colon or control character"},
		{"localForwards", "80:a:80 80:b:80", `local forwards "80:a:80" and "80:b:80" listen on the same tcp port`},
		{"meshForwards", "80:a:80 80:b:80", `mesh forwards "80:a:80" and "80:b:80" listen on the same tcp port`},
		{"dns.domain", ".", `"." is not a domain`},
		{"dns.domain", "a b", `"a b" is not a host name`},
		{"dns.upstreams", "ns.example.org", `"ns.example.org" is not the address of a DNS server (ADDRESS or ADDRESS:PORT)`},
		{"relay", "always", `"always" is not one of offer, auto, never`},
		{"relayPorts", "50000", `"50000" is not a range of ports, FIRST-LAST`},
		{"relayPorts", "50000-70000", `"50000-70000" is not a range of ports, FIRST-LAST`},
		{"relayPorts", "80-90", `80-90: the first port is below 1024`},
		{"relayPorts", "50001-50000", `50001-50000: the last port is below the first`},
		{"relayPorts", "50000-51024", `50000-51024: want 1 to 1024 ports`},
		{"relayBandwidth", "0", `"0" is not a number of Mbit/s from 1 to 100000`},
		{"relayNetworks", "127.0.0.0/8", `127.0.0.0/8 is in 127.0.0.0/8, which is loopback`},
		{"relayNetworks", "0.0.0.0/0", `0.0.0.0/0 is not private (within one of [10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7])`},
		{"relayServers", "turn:a:0", `"turn:a:0": there is no port 0`},
		{"relayServers", "turn://a", `"turn://a" is not turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT]`},
		{"relayServers", "stun:a", `"stun:a" is not turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT]`},
		{"relayServers", "turn:a?transport=sctp", `"turn:a?transport=sctp": transport is neither udp nor tcp`},
		{"relayServers", "turns:a?transport=udp", `"turns:a?transport=udp": TLS is over TCP only`},
		{"relayServers", "turn:", `"turn:": there is no host`},
		{"relayServers", "turn:a b", `"turn:a b": "a b" is not a host name`},
		{"limits.connections", "0", `"0" is not a number from 1 to 1048576`},
		{"limits.idleTimeout", "-1s", `"-1s" is not a duration such as 90s, 12h or 0`},
		{"nonsense", "1", `unknown setting "nonsense"`},
	} {
		_, err := load("", override("--flag", tt.key, tt.value))
		wantProblems(t, err, "--flag: "+tt.want)
	}
}

// Ports of a relay that is not offered are nobody's.
func TestRelaySettings(t *testing.T) {
	mustLoad(t, wirespan("listenPort: 49200\nrelayPorts: 49152-49300\n"), config.Options{})
	_, err := load(wirespan("relay: offer\nlistenPort: 49200\n"), config.Options{})
	wantProblems(t, err, "a.yaml:4: relayPorts: 49152-49407 has the port of listenPort, 49200: choose other ports")
	_, err = load(wirespan("relayPorts: 400-499\n"), config.Options{})
	wantProblems(t, err, "a.yaml:3: WirespanConfig: relayPorts: 400-499: the first port is below 1024")
	_, err = load(wirespan("relayNetworks: [10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 10.5.0.0/16, 10.6.0.0/16, "+
		"10.7.0.0/16, 10.8.0.0/16, 10.9.0.0/16]\nrelayServers: [turn:a, turn:b, turn:c, turn:d, turn:e]\n"), config.Options{})
	wantProblems(t, err, "a.yaml:3: WirespanConfig: relayNetworks: 9 networks; the mesh is told of at most 8",
		"a.yaml:4: WirespanConfig: relayServers: 5 servers; at most 4 are used")
	_, err = load(wirespan("relay: offer\nrelayPorts: 4000-4999\ndiscoveryListen: \":4443\"\n"), config.Options{})
	wantProblems(t, err, "a.yaml:4: relayPorts: 4000-4999 has the port of discoveryListen, 4443: choose other ports")
}

func TestWirespanDocumentErrors(t *testing.T) {
	_, err := load(wirespan("listenPort: many\nbackend: [tun]\nmachineType: init\nleaveOnStop: 3\n"+
		"addressFilters: docker0\nlogging: {level: info, jsn: true}\nlistenport: 3\n"), config.Options{})
	wantProblems(t, err,
		"a.yaml:4: WirespanConfig: backend: expected a single value",
		"a.yaml:3: WirespanConfig: listenPort: expected a whole number",
		`a.yaml:5: WirespanConfig: machineType: "init" is not one of worker, unknown`,
		"a.yaml:6: WirespanConfig: leaveOnStop: expected true or false",
		"a.yaml:7: addressFilters: expected a list of at most 1024 strings",
		`a.yaml:8: unknown keys found during decoding: logging.jsn (line 8; did you mean "json"?)`,
		`a.yaml:9: unknown keys found during decoding: listenport (line 9; did you mean "listenPort"?)`)
}

func TestDiff(t *testing.T) {
	old := mustLoad(t, "", config.Options{})
	if d := config.Diff(old, mustLoad(t, "", config.Options{})); d != nil {
		t.Errorf("no change needs a restart: %v", d)
	}
	all := mustLoad(t, wirespan(everySetting), config.Options{})
	want := []string{
		"backend", "interfaceName", "stateDir", "identityDir", "controlSocket", "answerStun", "discoveryListen", "noClockFix", "memoryBudget",
		"controlSocketMode", "controlSocketGroup", "healthListen", "logging.json", "firewall.table", "firewall.routingTable", "firewall.rulePriority",
		"firewall.encryptedMark", "firewall.tunnelMark", "firewall.mask", "limits.connections", "limits.udpAssociations", "limits.idleTimeout",
	}
	if d := config.Diff(old, all); !reflect.DeepEqual(d, want) {
		t.Errorf("restart for %v, want %v", d, want)
	}
	off := mustLoad(t, wirespan("firewall: {enabled: false}\n"), config.Options{})
	if d := config.Diff(old, off); !reflect.DeepEqual(d, []string{"firewall.enabled"}) || off.Firewall.Enabled {
		t.Errorf("restart for %v, enabled: %v", d, off.Firewall.Enabled)
	}
}
