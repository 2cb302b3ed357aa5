package config

import (
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// Settings is the table of all settings of WirespanConfig, in the order in which
// help and the template show them; those of sections come last.
func Settings() []Setting {
	return slices.Concat(nodeSettings(), networkSettings(), serviceSettings(), firewallSettings())
}

// nodeSettings are those of the data plane and of the node's identity.
func nodeSettings() []Setting {
	return []Setting{{
		Key: "backend", Values: []string{"auto", "tun", "netstack"}, Default: "auto", Restart: true,
		Help: "Data plane: auto takes TUN where it can and netstack where it can't.",
		at: func(w *Wirespan) target {
			return scalar[Backend]{&w.Backend, oneOf[Backend]("auto", "tun", "netstack")}
		},
	}, {
		Key: "listenPort", Kind: KindInt, Default: "51820",
		Help: "UDP port of WireGuard; 0 takes any free one.",
		at:   func(w *Wirespan) target { return scalar[uint16]{&w.ListenPort, parsePort} },
	}, {
		Key: "interfaceName", Default: "wirespan0", Restart: true,
		Help: "Name of the network interface (TUN backend).",
		at:   func(w *Wirespan) target { return scalar[string]{&w.InterfaceName, parseInterfaceName} },
	}, {
		Key: "stateDir", Example: "/var/lib/wirespan", Restart: true,
		Help: "Directory of keys, node identity and caches; memory keeps nothing.",
		at:   func(w *Wirespan) target { return scalar[string]{&w.StateDir, parsePath} },
	}, {
		Key: "identityDir", Example: "/run/secrets/wirespan", Restart: true,
		Help: "Directory of keys and node identity, if not the state directory; may be read-only.",
		at:   func(w *Wirespan) target { return scalar[string]{&w.IdentityDir, parsePath} },
	}, {
		Key: "controlSocket", Example: "/run/wirespan/wirespan.sock", Restart: true,
		Help: "Unix socket that the commands use to talk to the agent.",
		at:   func(w *Wirespan) target { return scalar[string]{&w.ControlSocket, parseSocketPath} },
	}, {
		Key: "mac", Example: "02:00:5e:10:00:01",
		Help: "Hardware address that the node's mesh address is made of, instead of the host's.",
		at:   func(w *Wirespan) target { return scalar[[]byte]{&w.MAC, parseMAC} },
	}, {
		Key: "nodename", Example: "node-1",
		Help: "Name of this node in the mesh; made of the hostname if unset.",
		at:   func(w *Wirespan) target { return scalar[string]{&w.Nodename, parseNodename} },
	}, {
		Key: "hostname", Example: "node-1.example.org",
		Help: "Full host name to announce, instead of the system's.",
		at:   func(w *Wirespan) target { return scalar[string]{&w.Hostname, parseHostname} },
	}, {
		Key: "machineType", Values: []string{"worker", "unknown"}, Default: "unknown",
		Help: "Talos machine type to announce; never a control plane.",
		at: func(w *Wirespan) target {
			return scalar[mesh.MachineType]{&w.MachineType, oneOf(mesh.MachineWorker, mesh.MachineUnknown)}
		},
	}}
}

// serviceSettings are those of announcing, discovery and the process.
func serviceSettings() []Setting {
	return []Setting{{
		Key: "leaveOnStop", Kind: KindBool, Example: "true",
		Help: "Leave the mesh on SIGTERM; by default only if the state directory does not outlive a boot.",
		at:   func(w *Wirespan) target { return optionalBool{&w.LeaveOnStop} },
	}, {
		Key: "announceAsMember", Kind: KindBool, Default: "true",
		Help: "Announce a nodename, which makes this node a Talos member and not only a peer.",
		at:   func(w *Wirespan) target { return scalar[bool]{&w.AnnounceAsMember, parseBool} },
	}, {
		Key: "addressFilters", Kind: KindList, Example: "docker0,!10.0.0.0/8",
		Help: "Addresses (CIDR) or links (name, or prefix*) to announce although they would not be; a leading ! refuses.",
		at: func(w *Wirespan) target {
			return list[mesh.AddressFilter]{&w.AddressFilters, parseAddressFilter}
		},
	}, {
		Key: "discoveryListen", Default: ":51820", Restart: true,
		Help: "TCP address of the embedded discovery server, where this node runs one.",
		at:   func(w *Wirespan) target { return scalar[string]{&w.DiscoveryListen, parseListen} },
	}, {
		Key: "advertiseDiscovery", Kind: KindList, Example: "mesh.example.org:51820",
		Help: "More addresses of the embedded discovery server to put into join tokens.",
		at:   func(w *Wirespan) target { return list[string]{&w.AdvertiseDiscovery, parseAdvertised} },
	}, {
		Key: "noClockFix", Kind: KindBool, Default: "false", Restart: true,
		Help: "Never set the system clock, even if it is behind the last run.",
		at:   func(w *Wirespan) target { return scalar[bool]{&w.NoClockFix, parseBool} },
	}, {
		Key: "memoryBudget", Example: "64MiB", Restart: true,
		Help: "Memory that the process may take for speed; by default an eighth of the host's, within 32MiB and 48MiB.",
		at:   func(w *Wirespan) target { return scalar[int64]{&w.MemoryBudget, parseSize} },
	}, {
		Key: "logging.level", Values: []string{"trace", "debug", "info", "warn", "error"}, Default: "info",
		Help: "Least severe messages to log.",
		at: func(w *Wirespan) target {
			return scalar[string]{&w.Logging.Level, oneOf("trace", "debug", "info", "warn", "error")}
		},
	}, {
		Key: "logging.json", Kind: KindBool, Default: "false", Restart: true,
		Help: "Log JSON instead of text.",
		at:   func(w *Wirespan) target { return scalar[bool]{&w.Logging.JSON, parseBool} },
	}}
}
