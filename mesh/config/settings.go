package config

import (
	"iter"
	"strings"
	"unicode"

	"github.com/wirespan/wirespan/mesh"
)

// Kind is the type of a setting's value.
type Kind int

// Kinds of settings. In flags and environment the items of a list are separated by
// commas. Those of words may contain commas, and are separated by white space.
const (
	KindString Kind = iota
	KindBool
	KindInt
	KindList
	KindWords
)

// separator stands between items in the text of a setting.
func (k Kind) separator() string {
	if k == KindWords {
		return " "
	}
	return ","
}

// Split returns the items of a setting's text.
func (k Kind) Split(s string) []string {
	switch k {
	case KindList:
		return splitList(s)
	case KindWords:
		return strings.Fields(s)
	}
	return []string{s}
}

// IsList reports whether the setting has items.
func (k Kind) IsList() bool { return k == KindList || k == KindWords }

// Join is the reverse of Split.
func (k Kind) Join(items []string) string { return strings.Join(items, k.separator()) }

// Setting describes one setting of WirespanConfig, which is also a flag and an
// environment variable. It holds no value. No setting is secret.
type Setting struct {
	Key     string // in YAML; "logging.level" is level below logging
	Short   string // the flag's letter; empty: none
	Kind    Kind
	Values  []string // the valid values, if there are only a few
	Default string   // empty: the agent decides
	Example string   // a valid value, if there is no default
	Help    string   // one sentence
	Restart bool     // a change applies only after a restart

	at func(*Wirespan) target // the field that holds the value
}

// Flag returns the setting's flag without dashes: "listen-port".
func (s *Setting) Flag() string { return strings.ToLower(s.words("-")) }

// Env returns the setting's environment variable: "WIRESPAN_LISTEN_PORT".
func (s *Setting) Env() string { return "WIRESPAN_" + strings.ToUpper(s.words("_")) }

// words returns the words of the key with a separator between them.
func (s *Setting) words(separator string) string {
	var b strings.Builder
	for _, r := range s.Key {
		switch {
		case r == '.':
			b.WriteString(separator)
		case unicode.IsUpper(r):
			b.WriteString(separator + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// split returns the section of the key, "" at the top, and the rest.
func (s *Setting) split() (section, key string) {
	if section, key, nested := strings.Cut(s.Key, "."); nested {
		return section, key
	}
	return "", s.Key
}

// Settings returns the table of all settings of WirespanConfig, in the order of help
// and template; those in sections come last.
//
// The tables are variables, which the linker lays out, so that a command that only needs a
// few settings takes no memory for the others.
func Settings() iter.Seq[*Setting] {
	return func(yield func(*Setting) bool) {
		for _, table := range [][]Setting{
			nodeSettings, networkSettings, endpointSettings, relaySettings, serviceSettings, socketSettings, forwardSettings,
			loggingSettings, firewallSettings, proxySettings, dnsSettings, limitSettings, kubernetesSettings,
		} {
			for i := range table {
				if !yield(&table[i]) {
					return
				}
			}
		}
	}
}

// nodeSettings are for the data plane and the identity of the node.
var nodeSettings = []Setting{{
	Key: "backend", Values: []string{"auto", "tun", "netstack"}, Default: "auto", Restart: true,
	Help: "Data plane; auto is tun if possible, else netstack.",
	at: func(w *Wirespan) target {
		return scalar(&w.Backend, oneOf[Backend]("auto", "tun", "netstack"))
	},
}, {
	Key: "listenPort", Kind: KindInt, Default: "51820",
	Help: "UDP port of WireGuard; 0 takes any free port.",
	at:   func(w *Wirespan) target { return scalar(&w.ListenPort, parsePort) },
}, {
	Key: "interfaceName", Default: "wirespan0", Restart: true,
	Help: "Name of the network interface (TUN backend).",
	at:   func(w *Wirespan) target { return scalar(&w.InterfaceName, parseInterfaceName) },
}, {
	Key: "stateDir", Example: "/var/lib/wirespan", Restart: true,
	Help: "Directory for keys, node identity and caches; \"memory\" keeps nothing, \"memory:DIR\" uses a directory that the next boot may empty.",
	at:   func(w *Wirespan) target { return scalar(&w.StateDir, parseStateDir) },
}, {
	Key: "identityDir", Example: "/run/secrets/wirespan", Restart: true,
	Help: "Directory for keys and node identity, if not the state directory; may be read-only.",
	at:   func(w *Wirespan) target { return scalar(&w.IdentityDir, parsePath) },
}, {
	Key: "keyRotation", Default: "0",
	Help: "How long a WireGuard key is used before another takes its place; 0 for ever; needs a node id that can sign, and no identityDir.",
	at:   func(w *Wirespan) target { return scalar(&w.KeyRotation, parseRotation) },
}, {
	Key: "controlSocket", Example: "/run/wirespan/wirespan.sock", Restart: true,
	Help: "Unix socket that the commands use to talk to the agent.",
	at:   func(w *Wirespan) target { return scalar(&w.ControlSocket, parseSocketPath) },
}, {
	Key: "mac", Example: "02:00:5e:10:00:01",
	Help: "Hardware address that the mesh address is made of, as in Talos, instead of the node id.",
	at:   func(w *Wirespan) target { return scalar(&w.MAC, parseMAC) },
}, {
	Key: "nodename", Example: "node-1",
	Help: "Name of this node in the mesh; derived from the hostname if unset.",
	at:   func(w *Wirespan) target { return scalar(&w.Nodename, parseNodename) },
}, {
	Key: "hostname", Example: "node-1.example.org",
	Help: "Full host name to announce, instead of the system's.",
	at:   func(w *Wirespan) target { return scalar(&w.Hostname, parseHostname) },
}, {
	Key: "machineType", Values: []string{"worker", "unknown"}, Default: "unknown",
	Help: "Talos machine type to announce; never a control plane.",
	at: func(w *Wirespan) target {
		return scalar(&w.MachineType, oneOf(mesh.MachineWorker, mesh.MachineUnknown))
	},
}}

// networkSettings are for networks behind nodes and the LAN between nodes.
var networkSettings = []Setting{{
	Key: "advertisedNetworks", Kind: KindList, Example: "192.168.1.0/24,2001:db8:1::/64",
	Help: "Networks (CIDR) behind this node that the mesh reaches through it; 0.0.0.0/0 and ::/0 make it an exit node.",
	at: func(w *Wirespan) target {
		return list(&w.AdvertisedNetworks, parseLocatedNetwork, checkAdvertisedNetworks)
	},
}, {
	Key: "masquerade", Kind: KindBool, Default: "false",
	Help: "Let advertised networks see this node's own address instead of the mesh's, for networks without a route back.",
	at:   func(w *Wirespan) target { return scalar(&w.Masquerade, parseBool) },
}, {
	Key: "allowedNetworks", Kind: KindList, Example: "node-2=0.0.0.0/0",
	Help: "Networks (NODENAME=CIDR) that this peer may announce and others may not: default routes, public addresses, this node's gateway, DNS or discovery server.",
	at: func(w *Wirespan) target {
		return list(&w.AllowedNetworks, parseAllowance, checkAllowances)
	},
}, {
	Key: "holdNetworks", Default: "24h",
	Help: "How long packets for the networks of a node that is gone are dropped, and not sent in the clear; 0 as in KubeSpan.",
	at:   func(w *Wirespan) target { return scalar(&w.HoldNetworks, parseDuration) },
}, {
	Key: "siteNetworks", Kind: KindList, Example: "192.168.0.0/16",
	Help: "Networks (CIDR) in which peers keep their LAN path, not encrypted by the mesh, if this node also has an address there.",
	at: func(w *Wirespan) target {
		return list(&w.SiteNetworks, parseSiteNetwork, checkDisjoint)
	},
}, {
	Key: "siteOnLink", Kind: KindBool, Default: "false",
	Help: "Peers whose tunnel runs over an on-link subnet also keep their LAN path, not encrypted by the mesh.",
	at:   func(w *Wirespan) target { return scalar(&w.SiteOnLink, parseBool) },
}}

// endpointSettings are for the ways to peers.
var endpointSettings = []Setting{{
	Key: "endpointStrategy", Values: []string{"race", "cycle"}, Default: "race",
	Help: "How to reach a peer: race tries its endpoints together and watches the path; cycle tries one after another, as KubeSpan does.",
	at: func(w *Wirespan) target {
		return scalar(&w.EndpointStrategy, oneOf(StrategyRace, StrategyCycle))
	},
}, {
	Key: "peerEndpoints", Kind: KindList, Example: "node-2=203.0.113.5:51820",
	Help: "Where a peer is (NODENAME=ADDRESS:PORT), instead of what it announces.",
	at: func(w *Wirespan) target {
		return list(&w.PeerEndpoints, parsePinnedEndpoint, nil)
	},
}, {
	Key: "peerEndpointFilters", Kind: KindList, Example: "192.168.0.0/16,!192.168.9.0/24",
	Help: "Which endpoints of peers to use (CIDR), and in which order; a leading ! excludes.",
	at: func(w *Wirespan) target {
		return list(&w.PeerEndpointFilters, mesh.ParseFilter, nil)
	},
}, {
	Key: "portMapping", Values: []string{"auto", "never"}, Default: "auto",
	Help: "Have the router of this network map WireGuard's port, and that of the embedded discovery server, to this node (PCP, NAT-PMP, UPnP): auto does behind a NAT.",
	at: func(w *Wirespan) target {
		return scalar(&w.PortMapping, oneOf(PortMappingAuto, PortMappingNever))
	},
}, {
	Key: "stunServers", Kind: KindList, Example: "stun.example.org:3478",
	Help: "Servers (host:port) that tell this node, by STUN, the address and port that a NAT gives it; the mesh's discovery servers are asked, too.",
	at:   func(w *Wirespan) target { return list(&w.StunServers, ParseSTUNServer, nil) },
}, {
	Key: "answerStun", Kind: KindBool, Example: "true", Restart: true,
	Help: "Tell others, by STUN, the address and port that a NAT gives them; by default only a node with the embedded discovery server does.",
	at:   func(w *Wirespan) target { return scalar(&w.AnswerStun, parseOptionalBool) },
}}

// serviceSettings are for announcing, discovery and the process.
var serviceSettings = []Setting{{
	Key: "leaveOnStop", Kind: KindBool, Example: "true",
	Help: "Leave the mesh on SIGTERM; by default only if the state directory does not survive a reboot.",
	at:   func(w *Wirespan) target { return scalar(&w.LeaveOnStop, parseOptionalBool) },
}, {
	Key: "announceAsMember", Kind: KindBool, Example: "true",
	Help: "Announce a nodename, which makes this node a Talos member and not only a peer; by default only if no file names the cluster.",
	at:   func(w *Wirespan) target { return scalar(&w.AnnounceAsMember, parseOptionalBool) },
}, {
	Key: "addressFilters", Kind: KindList, Example: "docker0,!10.0.0.0/8",
	Help: "Addresses (CIDR) or links (name or prefix*) to announce beyond the default; a leading ! excludes.",
	at: func(w *Wirespan) target {
		return list(&w.AddressFilters, parseAddressFilter, nil)
	},
}, {
	Key: "peersFile", Example: "/etc/wirespan/peers.yaml",
	Help: "File with static peers: nodes and other WireGuard devices that need no discovery; read again when it changes.",
	at:   func(w *Wirespan) target { return scalar(&w.PeersFile, parsePath) },
}, {
	Key: "discoveryListen", Default: ":51820", Restart: true,
	Help: "TCP address of the embedded discovery server, if this node runs one.",
	at:   func(w *Wirespan) target { return scalar(&w.DiscoveryListen, parseListen) },
}, {
	Key: "advertiseDiscovery", Kind: KindList, Example: "mesh.example.org:51820",
	Help: "Additional addresses of the embedded discovery server for join tokens.",
	at:   func(w *Wirespan) target { return list(&w.AdvertiseDiscovery, parseAdvertised, nil) },
}, {
	Key: "noClockFix", Kind: KindBool, Default: "false", Restart: true,
	Help: "Never set the system clock, even if it is behind the last run.",
	at:   func(w *Wirespan) target { return scalar(&w.NoClockFix, parseBool) },
}, {
	Key: "memoryBudget", Example: "64MiB", Restart: true,
	Help: "Memory that the process may use for speed; by default an eighth of the host's, from 8MiB to 48MiB.",
	at:   func(w *Wirespan) target { return scalar(&w.MemoryBudget, parseSize) },
}}

var loggingSettings = []Setting{{
	Key: "logging.level", Values: []string{"trace", "debug", "info", "warn", "error"}, Default: "info",
	Help: "Lowest severity of messages to log.",
	at: func(w *Wirespan) target {
		return scalar(&w.Logging.Level, oneOf("trace", "debug", "info", "warn", "error"))
	},
}, {
	Key: "logging.json", Kind: KindBool, Default: "false", Restart: true,
	Help: "Log JSON instead of text.",
	at:   func(w *Wirespan) target { return scalar(&w.Logging.JSON, parseBool) },
}}

// firewallSettings are for the kernel's rules and routes.
var firewallSettings = []Setting{{
	Key: "firewall.enabled", Kind: KindBool, Default: "true", Restart: true,
	Help: "Install nftables rules and policy routing (TUN backend).",
	at:   func(w *Wirespan) target { return scalar(&w.Firewall.Enabled, parseBool) },
}, {
	Key: "firewall.table", Default: "wirespan", Restart: true,
	Help: "Name of the nftables table, of family inet.",
	at:   func(w *Wirespan) target { return scalar(&w.Firewall.Table, parseTableName) },
}, {
	Key: "firewall.routingTable", Kind: KindInt, Default: "180", Restart: true,
	Help: "Number of the routing table that leads into the tunnel.",
	at:   func(w *Wirespan) target { return scalar(&w.Firewall.RoutingTable, parseNumber[int]) },
}, {
	Key: "firewall.rulePriority", Kind: KindInt, Default: "32500", Restart: true,
	Help: "Priority of the routing rules.",
	at:   func(w *Wirespan) target { return scalar(&w.Firewall.RulePriority, parseNumber[int]) },
}, {
	Key: "firewall.encryptedMark", Kind: KindInt, Default: "0x20", Restart: true,
	Help: "Mark of encrypted packets, which never enter the tunnel.",
	at:   func(w *Wirespan) target { return scalar(&w.Firewall.EncryptedMark, parseNumber[uint32]) },
}, {
	Key: "firewall.tunnelMark", Kind: KindInt, Default: "0x40", Restart: true,
	Help: "Mark of packets to send into the tunnel.",
	at:   func(w *Wirespan) target { return scalar(&w.Firewall.TunnelMark, parseNumber[uint32]) },
}, {
	Key: "firewall.mask", Kind: KindInt, Default: "0x60", Restart: true,
	Help: "Mask of the bits that both marks use and no other program may use.",
	at:   func(w *Wirespan) target { return scalar(&w.Firewall.Mask, parseNumber[uint32]) },
}}
