package mesh

import (
	"net/netip"
	"time"
)

// Constants of KubeSpan (Talos: pkg/machinery/constants, adapters/kubespan).
const (
	DefaultListenPort   = 51820
	DefaultMTU          = 1420 // bytes
	MinimumMTU          = 1280 // bytes, IPv6's minimum (RFC 8200)
	PersistentKeepalive = 25 * time.Second
	FirewallMark        = 0x20              // on encrypted packets and all control traffic
	EndpointTimeout     = 15 * time.Second  // a new endpoint has this long to show a handshake
	PeerDownInterval    = 275 * time.Second // RejectAfterTime + RekeyTimeout + 90 s
	ReconcileInterval   = 30 * time.Second
	MaxEndpoints        = 8 // announced per node: Talos tries one per 15–30 s
)

// Identity is this node's: keys and node id are stored on disk, the address is
// computed from cluster id and hardware address.
type Identity struct {
	NodeID     string       // base62 of 32 random bytes; the affiliate id
	Address    netip.Addr   // KubeSpan ULA of this node
	Subnet     netip.Prefix // the cluster's /64
	PrivateKey PrivateKey
	PublicKey  Key
}

// MachineType is the Talos machine type as it is on the wire.
type MachineType string

// Machine types. This node only ever announces worker or unknown.
const (
	MachineInit         MachineType = "init"
	MachineControlPlane MachineType = "controlplane"
	MachineWorker       MachineType = "worker"
	MachineUnknown      MachineType = "unknown"
)

// Affiliate is one node as discovery found it; untrusted. A zero PublicKey
// means that it has no KubeSpan part, and then the fields after it are empty.
type Affiliate struct {
	NodeID           string
	Addresses        []netip.Addr
	Hostname         string
	Nodename         string
	OperatingSystem  string
	MachineType      MachineType
	ControlPlanePort uint16 // 0: no control plane part. Read, never published.

	PublicKey                 Key
	Address                   netip.Addr // KubeSpan ULA
	AdditionalAddresses       []netip.Prefix
	Endpoints                 []netip.AddrPort
	ExcludeAdvertisedNetworks []netip.Prefix
}

// Member is an affiliate with a nodename.
type Member struct {
	NodeID           string
	Nodename         string
	Hostname         string
	Addresses        []netip.Addr
	MachineType      MachineType
	OperatingSystem  string
	ControlPlanePort uint16
}

// PeerSpec is what a peer should be.
type PeerSpec struct {
	PublicKey  Key
	NodeID     string
	Name       string         // nodename, if it is this node's; rules are about it
	Label      string         // what people see: nodename or node id; may be empty
	Address    netip.Addr     // KubeSpan ULA; zero if it has none that may be routed
	AllowedIPs []netip.Prefix // minimal, sorted, IPv4 first
	Endpoints  []netip.AddrPort
}

// PeerState is what we believe of a peer. The numbers are Talos'.
type PeerState int

// Peer states.
const (
	PeerStateUnknown PeerState = iota
	PeerStateUp
	PeerStateDown
)

// PeerStatus is what we believe of a peer, from the device's counters and time.
type PeerStatus struct {
	PublicKey          Key
	Label              string
	State              PeerState
	Endpoint           netip.AddrPort // as WireGuard sees it; zero if it has none
	ReceiveBytes       uint64
	TransmitBytes      uint64
	LastHandshakeTime  time.Time
	LastUsedEndpoint   netip.AddrPort // what we last told the device
	LastEndpointChange time.Time
}

// PeerStats is what the device says of a peer.
type PeerStats struct {
	PublicKey         Key
	Endpoint          netip.AddrPort
	ReceiveBytes      uint64
	TransmitBytes     uint64
	LastHandshakeTime time.Time
}

// PeerConfig is what the device should hold for a peer.
type PeerConfig struct {
	PublicKey           Key
	PresharedKey        Secret
	AllowedIPs          []netip.Prefix
	Endpoint            netip.AddrPort // zero: leave the device's as it is
	PersistentKeepalive time.Duration
}

// Endpoint is a harvested one: an address at which a peer was seen to work.
// It is keyed by PublicKey.
type Endpoint struct {
	PublicKey   Key
	AffiliateID string
	Endpoint    netip.AddrPort
}

// Link is a network interface of this host, as far as decisions need it.
type Link struct {
	Name         string
	Kind         string // rtnetlink kind; empty for physical links and lo
	Up           bool   // operstate up or unknown, and carrier if physical
	Loopback     bool
	DefaultRoute bool           // a default route of the main table leaves by it
	MTU          int            // bytes
	Addresses    []netip.Prefix // as configured; scope wider than link
}

// Host is this machine as observed at one moment.
type Host struct {
	Hostname        string // FQDN: host, or host.domain
	Nodename        string // RFC 1123 form of the hostname, or configured
	OperatingSystem string // "NAME (VERSION)"
	Links           []Link
	PublicAddresses []netip.Addr // from discovery's Hello, one per service
	ListenPort      uint16       // the device's real UDP port
	Netstack        bool         // announces only its ULA as an address

	// What this node depends on outside of the mesh.
	Gateways         []netip.Addr // next hops of default routes
	DNSServers       []netip.Addr
	DiscoveryServers []netip.Addr // as far as they are known by address
	PeerDiscovery    bool         // the discovery server may be a peer
}

// Config is the part of the configuration that decisions depend on.
type Config struct {
	Enabled                   bool
	ClusterSecret             Secret // preshared key of every peer
	ForceRouting              bool   // not allowDownPeerBypass
	HarvestExtraEndpoints     bool
	MTU                       int
	EndpointFilters           []Filter // nil: no filtering; empty: nothing passes
	ExcludeAdvertisedNetworks []netip.Prefix
	ExtraAnnouncedEndpoints   []netip.AddrPort
	AddressFilters            []AddressFilter
	MachineType               MachineType
	AnnounceAsMember          bool
	AdvertisedNetworks        []netip.Prefix // behind this node; disjoint
	AllowedNetworks           []Allowance
	SiteNetworks              []netip.Prefix // peers there keep their LAN path
	SiteOnLink                bool           // so do peers whose tunnel runs over a subnet on-link here
	NoRouting                 bool           // nothing but mesh addresses goes by the tunnel
}

// Allowance lets the peer of a nodename have what is refused to peers: a very
// broad network, this node's gateway, a DNS server, a discovery server.
type Allowance struct {
	Nodename string
	Prefix   netip.Prefix
}

// Input is everything known at one moment.
type Input struct {
	Config     Config
	Self       Identity
	Host       Host
	Affiliates []Affiliate  // merged over registries, by node id; own entry is ignored
	Stats      []PeerStats  // what the device holds; a peer not here is not in the device
	Previous   []PeerStatus // Plan.Statuses of the last decision
	Pins       []Pin        // Plan.Pins of the last decision, but for those that the user has accepted anew
}

// Plan is everything that should be true.
type Plan struct {
	Local    Affiliate      // what to publish of this node
	Specs    []PeerSpec     // sorted by public key
	Peers    []PeerConfig   // for the device; sorted by public key
	Statuses []PeerStatus   // sorted by public key
	Routed   []netip.Prefix // into the tunnel, and never in the clear; minimal, sorted
	Routes   []Route        // all that peers have, sorted
	// ReturnByTunnel: peers may send what is not routed back to them, so replies
	// must go the way that the packets came.
	ReturnByTunnel bool
	Pins           []Pin       // to remember; sorted by node id
	Endpoints      []Endpoint  // harvested, to publish for others; sorted by public key
	Members        []Member    // sorted by nodename
	Conditions     []Condition // sorted
	// Wake is when a state may change by the mere passing of time (15 s and
	// 275 s boundaries); zero if none will. The loop decides again then.
	Wake time.Time
}

// Condition is a problem that a person should know of. It is a result, not a
// log line: the loop logs those that are new.
type Condition struct {
	Type    ConditionType
	Subject string // what it is about: a nodename, node id, prefix or key
	Message string // one sentence, with how to mend it where the user can
}

// ConditionType names a kind of condition; stable, for scripts.
type ConditionType string
