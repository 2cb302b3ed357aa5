package config

import "github.com/wirespan/wirespan/mesh"

// Backend is a kind of data plane.
type Backend string

// Backends. BackendAuto takes TUN where it can and netstack where it can't.
const (
	BackendAuto     Backend = "auto"
	BackendTUN      Backend = "tun"
	BackendNetstack Backend = "netstack"
)

// StateMemory is the StateDir of an agent that writes nothing to disk.
const StateMemory = "memory"

// Wirespan holds this agent's own settings: the WirespanConfig document, flags
// and environment. Empty strings and nil leave the choice to the agent.
type Wirespan struct {
	Backend            Backend
	ListenPort         uint16 // WireGuard's UDP port; 0: any
	InterfaceName      string
	StateDir           string // or StateMemory
	IdentityDir        string // empty: StateDir
	ControlSocket      string
	MAC                []byte // 6 or 8 bytes; nil: the host's, or derived
	Nodename           string
	Hostname           string
	MachineType        mesh.MachineType // worker or unknown
	LeaveOnStop        *bool            // nil: if the state is ephemeral
	AnnounceAsMember   bool
	AddressFilters     []mesh.AddressFilter
	DiscoveryListen    string   // host:port of the embedded discovery server
	AdvertiseDiscovery []string // host or host:port, for join tokens
	NoClockFix         bool
	MemoryBudget       int64 // bytes; 0: fitted to the machine
	Logging            Logging
}

// Logging says what is logged and how.
type Logging struct {
	Level string // trace, debug, info, warn, error
	JSON  bool
}

// defaults applies the default of every setting.
func defaults() (w Wirespan) {
	for _, s := range Settings() {
		if s.Default == "" {
			continue
		}
		if err := s.at(&w).set([]string{s.Default}); err != nil { // the table is wrong: tests rule it out
			panic(s.Key + ": " + err.Error())
		}
	}
	return w
}

// readWirespan reads WirespanConfig by the table of settings.
func (l *loader) readWirespan(o *object) {
	sections := map[string]*object{"": o}
	for _, s := range Settings() {
		section, key := s.split()
		if _, known := sections[section]; !known {
			sections[section] = o.object(section)
		}
		in := sections[section]
		if in == nil {
			continue
		}
		parts, at, err := in.setting(key, s.Kind)
		if err == nil && parts != nil {
			err = s.at(&l.cfg.Wirespan).set(parts)
		}
		if err != nil {
			l.add(at, "%s: %s: %v", kindWirespan, s.Key, err)
		}
	}
	for name, section := range sections {
		if name != "" && section != nil {
			section.finish()
		}
	}
}
