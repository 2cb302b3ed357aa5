package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// Backend is a kind of data plane.
type Backend string

// Backends. BackendAuto is TUN if possible, else netstack.
const (
	BackendAuto     Backend = "auto"
	BackendTUN      Backend = "tun"
	BackendNetstack Backend = "netstack"
)

// StateMemory is the StateDir of an agent that keeps its state in memory only. With
// StateMemory, a colon and a directory, the state is in files that may be lost at the
// next boot.
const StateMemory = "memory"

// Wirespan holds the values of this agent's own settings, from the WirespanConfig
// document, flags and environment. Empty strings and nil leave the choice to the
// agent.
type Wirespan struct {
	Backend             Backend
	ListenPort          uint16 // WireGuard's UDP port; 0: any
	InterfaceName       string
	StateDir            string        // or StateMemory
	IdentityDir         string        // empty: StateDir
	KeyRotation         time.Duration // 0: never
	ControlSocket       string
	ControlSocketMode   uint32   // permissions; 0: 0600, or 0660 with a group
	ControlSocketGroup  string   // a name or number; empty: that of the agent's name, if there is one
	HealthListen        Listener // zero: none
	MAC                 []byte   // 6 or 8 bytes; nil: the mesh address is derived from the node id
	Nodename            string
	Hostname            string
	MachineType         mesh.MachineType // worker or unknown
	LeaveOnStop         *bool            // nil: only if the state is ephemeral
	AnnounceAsMember    *bool            // nil: only if standalone
	AddressFilters      []mesh.AddressFilter
	AdvertisedNetworks  []netip.Prefix // behind this node; disjoint
	Masquerade          bool
	AllowedNetworks     []mesh.Allowance
	HoldNetworks        time.Duration
	SiteNetworks        []netip.Prefix // disjoint
	SiteOnLink          bool
	EndpointStrategy    string
	PeerEndpoints       []mesh.PinnedEndpoint
	PeerEndpointFilters []mesh.Filter // nil: all pass
	PeersFile           string        // of static peers; empty: there are none
	DiscoveryListen     string        // host:port of the embedded discovery server
	AdvertiseDiscovery  []string      // host or host:port, for join tokens
	PortMapping         string
	StunServers         []string // host:port
	AnswerStun          *bool    // nil: only beside the embedded discovery server
	Relay               string
	RelayPorts          PortRange
	RelayBandwidth      int            // Mbit/s
	RelayNetworks       []netip.Prefix // private ones; disjoint
	RelayServers        []mesh.RelayServer
	RelayUser           string
	RelayPasswordFile   string // empty: there is no password
	NoClockFix          bool
	MemoryBudget        int64 // bytes; 0: derived from the host's memory
	Logging             Logging
	Firewall            Firewall
	Proxy               Proxy
	LocalForwards       []Forward
	MeshForwards        []Forward
	DNS                 DNS
	Limits              Limits
	Kubernetes          Kubernetes
	Ingress             Ingress // from files only
}

// Values of Proxy.Egress.
const (
	EgressMesh   = "mesh"
	EgressDirect = "direct"
)

// Proxy is the way into the mesh for programs of this host.
type Proxy struct {
	Listen               []Listener
	Egress               string
	User                 string
	PasswordFile         string // empty: clients need no password
	AllowUnauthenticated bool
}

// DNS says who answers queries for names of the mesh, and where.
type DNS struct {
	Enabled   bool
	Listen    []Listener // besides the mesh address
	Domain    string
	Upstreams []netip.AddrPort
	Register  bool
}

// Limits bound what programs of this host and of the mesh can make the agent hold.
type Limits struct {
	Connections, UDPAssociations int
	IdleTimeout                  time.Duration
}

// Values of EndpointStrategy.
const (
	StrategyRace  = "race"
	StrategyCycle = "cycle"
)

// Values of PortMapping.
const (
	PortMappingAuto  = "auto"
	PortMappingNever = "never"
)

// Firewall says whether the kernel routes and filters for the mesh, and with which
// numbers. These have passed [firewall.Numbers.Check].
type Firewall struct {
	Enabled bool
	firewall.Numbers
}

// Logging says what is logged and how.
type Logging struct {
	Level string // trace, debug, info, warn, error
	JSON  bool
}

// defaults applies the default of every setting.
func defaults() (w Wirespan) {
	w.Ingress.Default = firewall.ActionAccept
	for s := range Settings() {
		if s.Default == "" {
			continue
		}
		if err := s.at(&w).set([]string{s.Default}); err != nil { // a mistake in the table, which tests rule out
			panic(s.Key + ": " + err.Error())
		}
	}
	return w
}

// readWirespan reads WirespanConfig: the settings by their table, and ingress.
func (l *loader) readWirespan(o *object) {
	l.wirespanAt = o.at
	sections := map[string]*object{"": o}
	var nested []*object
	for s := range Settings() {
		section, key := s.split()
		if _, known := sections[section]; !known {
			sections[section] = o.object(section)
			nested = append(nested, sections[section])
		}
		in := sections[section]
		if in == nil {
			continue
		}
		parts, at, err := in.setting(key, s.Kind)
		if err == nil && parts != nil {
			err = l.set(s, parts, at)
		}
		if err != nil {
			l.add(at, "%s: %s: %v", kindWirespan, s.Key, err)
		}
	}
	l.readIngress(o)
	for _, section := range nested {
		if section != nil {
			section.finish()
		}
	}
}

// set sets the value of a setting that was given at a position.
func (l *loader) set(s *Setting, parts []string, at pos) error {
	l.note(s.Key, s.Kind.Join(parts), at)
	if len(parts) > maxListItems {
		return fmt.Errorf("more than %d items", maxListItems)
	}
	return s.at(&l.cfg.Wirespan).set(parts)
}

// validateWirespan checks settings against each other.
func (l *loader) validateWirespan() {
	w := &l.cfg.Wirespan
	if w.Masquerade && len(w.AdvertisedNetworks) == 0 {
		l.add(l.settings["masquerade"].at, "masquerade needs advertisedNetworks")
	}
	if w.KeyRotation > 0 && w.IdentityDir != "" {
		l.add(l.settings["keyRotation"].at, "keyRotation needs its keys in the state directory: leave out identityDir")
	}
	l.validateProxy()
	l.validateRelay()
	if !w.Firewall.Enabled {
		at := l.settings["firewall.enabled"].at
		if len(w.AdvertisedNetworks) > 0 {
			l.add(at, "advertisedNetworks needs firewall.enabled")
		}
		if w.Ingress.Default == firewall.ActionBlock || len(w.Ingress.Rules) > 0 {
			l.add(at, "ingress needs firewall.enabled")
		}
	}
	if err := w.Firewall.Check(); err != nil {
		setting, _, _ := strings.Cut(err.Error(), ":") // the error begins with its key
		at := l.wirespanAt
		if g, isGiven := l.settings[setting]; isGiven {
			at = g.at
		}
		l.add(at, "%v", err)
	}
}

// validateProxy refuses forwards that clash, and a proxy that would let other hosts into the
// mesh unasked.
func (l *loader) validateProxy() {
	p := &l.cfg.Proxy
	if err := CheckForwards(l.cfg.LocalForwards); err != nil {
		l.add(l.settings["localForwards"].at, "%v", err)
	} else if err := CheckForwards(append(append([]Forward{}, l.cfg.LocalForwards...), l.cfg.MeshForwards...)); err != nil {
		l.add(l.settings["meshForwards"].at, "%v", err)
	}
	for _, at := range p.Listen {
		if !at.Private() && p.PasswordFile == "" && !p.AllowUnauthenticated {
			l.add(l.settings["proxy.listen"].at, "proxy.listen: other hosts reach %s: set proxy.passwordFile, or allow them all with proxy.allowUnauthenticated", at)
		}
	}
}
