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
	MaxEndpoints        = 8  // announced per node: Talos tries one per 15–30 s
	MaxAddresses        = 64 // announced per node: they have a record of 2 KiB in common with all else
)

// Identity is the identity of this node. Keys and node id are stored on disk; the
// address is computed from the cluster id and the node id or a hardware address.
type Identity struct {
	NodeID     string       // base62 of 32 bytes: the public key of the signing key, or random bytes; the affiliate id
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

// Affiliate is a node as discovery found it; untrusted. Without a PublicKey it has
// no KubeSpan part, and the fields after that are empty.
type Affiliate struct {
	NodeID           string
	Addresses        []netip.Addr
	Hostname         string
	Nodename         string
	OperatingSystem  string
	MachineType      MachineType
	ControlPlanePort uint16 // 0: no control plane part; read, never published

	PublicKey                 Key
	Address                   netip.Addr // KubeSpan ULA
	AdditionalAddresses       []netip.Prefix
	Endpoints                 []netip.AddrPort
	ExcludeAdvertisedNetworks []netip.Prefix

	Record Record // what only a signed affiliate has

	// Static says that this node's administrator has written it: it needs no signature. Only
	// a registry that reads what the administrator writes sets it, and nothing that other
	// nodes send.
	Static bool
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

// PeerSpec is the desired state of a peer.
type PeerSpec struct {
	PublicKey  Key
	NodeID     string
	Name       string         // the nodename, if it owns it; rules use this name
	Label      string         // what people see: nodename or node id; may be empty
	Address    netip.Addr     // KubeSpan ULA; zero if it has none that may be routed
	AllowedIPs []netip.Prefix // minimal, sorted, IPv4 first
	Endpoints  []netip.AddrPort
	NextKey    Key // to which the peer changes soon; zero: to none

	relayed      []netip.AddrPort // those of the endpoints that are on relays
	sequence     uint64           // of its record; 0: not signed
	secretNumber uint64           // of the newest secret of the mesh that it has
}

// PeerState is the believed state of a peer, with the numbers of Talos.
type PeerState int

// Peer states.
const (
	PeerStateUnknown PeerState = iota
	PeerStateUp
	PeerStateDown
)

// PeerStatus is the believed condition of a peer, by the device's counters and the
// time.
type PeerStatus struct {
	PublicKey          Key
	Label              string
	State              PeerState
	Endpoint           netip.AddrPort // as WireGuard sees it; zero if it has none
	ReceiveBytes       uint64
	TransmitBytes      uint64
	LastHandshakeTime  time.Time
	LastUsedEndpoint   netip.AddrPort // the last one given to the device
	LastEndpointChange time.Time
	Relay              string    // by which the peer is reached; empty: by none
	NewKey             bool      // the peer has changed its key, and has no session with the new one yet
	Path               *PeerPath // nil: endpoints are tried one after another, as in KubeSpan

	sequence uint64    // of the peer's record
	news     time.Time // since when
}

// PeerPath is what the device knows about the way to a peer.
type PeerPath struct {
	Settled    bool          // the endpoint works
	Troubled   time.Time     // since when the device has had no answer; zero: it has
	RTT        time.Duration // 0: not known
	Loss       float64       // of the device's own echo requests, 0 to 1
	Changes    int           // of the endpoint in use
	MTU        int           // the largest packet of the tunnel that the path takes whole; 0: not known
	Candidates []Tried       // in the order in which they are tried
}

// Tried is an endpoint with the result of its last try.
type Tried struct {
	Endpoint  netip.AddrPort
	Rank      int
	Announced bool          // else the peer was seen there
	Result    string        // "untried", "waiting", "answered", "no answer", "refused" or "limited"
	Why       string        // with "refused": why this host did not send
	RTT       time.Duration // 0: not known
	Sent      time.Time     // the last handshake; zero: none
	Answered  time.Time     // when it last worked; zero: never
}

// Candidate is an endpoint at which a peer may be.
type Candidate struct {
	Endpoint netip.AddrPort
	Rank     int // class of the path, the best is the lowest
}

// PeerStats is what the device reports about a peer.
type PeerStats struct {
	PublicKey         Key
	Endpoint          netip.AddrPort
	ReceiveBytes      uint64
	TransmitBytes     uint64
	LastHandshakeTime time.Time
	Path              *PeerPath // nil: the device does not choose the peer's path
}

// AttemptsKept is how many of the last handshakes with an address are known. Upstream
// repeats one after 5 s or later, so as many span the EndpointTimeout.
const AttemptsKept = 6

// Attempt is what the device lately sent to an address.
type Attempt struct {
	Endpoint   netip.AddrPort
	Handshakes [AttemptsKept]time.Time // when one was started, or answered, with that address, the newest last; zero: fewer were
	Refusal    Refusal                 // why this host did not send the last packet
	Error      string                  // of the system; empty: it was sent
}

// Refusal is why a host does not send a packet.
type Refusal int

// Refusals.
const (
	NotRefused          Refusal = iota
	RefusedByFirewall           // a rule of the host, or a limit of the process
	RefusedByRoute              // a route that leads nowhere on purpose
	RefusedWithoutRoute         // no route leads there, or the host lacks the address family
)

// PeerConfig is the configuration of a peer in the device.
type PeerConfig struct {
	PublicKey           Key
	PresharedKey        Secret
	AllowedIPs          []netip.Prefix
	Endpoint            netip.AddrPort // zero: the device keeps the one it has
	PersistentKeepalive time.Duration
	// Race says that the device chooses among Candidates, which it tries together. Else the
	// caller does, by Endpoint.
	Race       bool
	Candidates []Candidate // the most wanted first
	Address    netip.Addr  // of the peer in the mesh, which answers echo requests; may be zero
	// Standby says that the peer starts the first handshake, and that it gets networks
	// before that is answered.
	Standby bool
	// Sequence is that of the peer's record, 0 if it is not signed. Another one is a reason
	// to try a peer again that has not answered for long.
	Sequence uint64
}

// Endpoint is a harvested endpoint: an address at which a peer was reached. There
// is at most one per PublicKey.
type Endpoint struct {
	PublicKey   Key
	AffiliateID string
	Endpoint    netip.AddrPort
}

// Link is a network interface of this host, with the properties that decisions
// depend on.
type Link struct {
	Name         string
	Kind         string // rtnetlink kind; empty for physical links and lo
	Up           bool   // operstate up or unknown, and a carrier if physical
	Loopback     bool
	DefaultRoute bool           // a default route leaves by it, of whichever table the kernel looks at
	MTU          int            // bytes
	Addresses    []netip.Prefix // as configured, of a scope wider than link
	Deprecated   []netip.Addr   // those of Addresses that are for existing connections only
}

// Host is this machine as observed at one moment.
type Host struct {
	Hostname        string // FQDN: host, or host.domain
	Nodename        string // RFC 1123 form of the hostname, or configured
	OperatingSystem string // "NAME (VERSION)"
	Links           []Link
	PublicAddresses []netip.Addr     // as discovery services see this node, one each
	ListenPort      uint16           // the UDP port on which the device listens
	MappedEndpoints []netip.AddrPort // that port as the gateway maps it, and as STUN servers see it through NATs
	Netstack        bool             // its only announced address is the ULA
	PodNetworks     []netip.Prefix   // that Kubernetes has given to this node, masked
	Mapping         Behaviour        // of the NAT in front of ListenPort, for IPv4
	Relays          []RelayStatus    // that the device uses
	RelayPort       uint16           // of the relay that this node offers; 0: it offers none

	// Addresses outside the mesh that this node depends on.
	Gateways         []netip.Addr // next hops of default routes
	DNSServers       []netip.Addr
	DiscoveryServers []netip.Addr // those whose address is known
	PeerDiscovery    bool         // the discovery server may be a peer

	// DiscoveryPending says that discovery has not answered yet: nobody knows which
	// nodename is free.
	DiscoveryPending bool
}

// Config is the part of the configuration that decisions depend on. Package
// mesh/config reads and checks the whole configuration.
type Config struct {
	Enabled                   bool
	ClusterSecret             Secret        // preshared key of every peer
	Charter                   Charter       // of an own mesh
	OwnMesh                   bool          // wirespan founded it: it has no Talos nodes
	RequireSigned             bool          // unsigned affiliates are not used
	HoldNetworks              time.Duration // how long networks of nodes that are gone are held; 0: not at all
	ForceRouting              bool          // not allowDownPeerBypass
	HarvestExtraEndpoints     bool
	AdvertisePodNetworks      bool // of Host
	Cycle                     bool // endpoints are tried one after another, as in KubeSpan
	MTU                       int
	UseRelays                 bool
	RelayServers              []RelayServer  // relays that are no members
	RelayNetworks             []netip.Prefix // private ones in which this node relays
	EndpointFilters           []Filter       // of the endpoints to announce; nil: no filtering; empty: nothing passes
	PeerEndpointFilters       []Filter       // of peers' endpoints to use, likewise
	PeerEndpoints             []PinnedEndpoint
	ExcludeAdvertisedNetworks []netip.Prefix
	ExtraAnnouncedEndpoints   []netip.AddrPort
	AddressFilters            []AddressFilter
	MachineType               MachineType
	AnnounceAsMember          bool
	AdvertisedNetworks        []netip.Prefix // behind this node; disjoint
	AllowedNetworks           []Allowance
	SiteNetworks              []netip.Prefix // peers in these keep their LAN path
	SiteOnLink                bool           // as do peers whose tunnel runs over an on-link subnet
	NoRouting                 bool           // only mesh addresses are routed into the tunnel
	Domain                    string         // of nodes' names; empty: DefaultDomain
}

// Allowance lets the peer with a nodename have a network that peers are refused
// otherwise: a very broad one, or one that contains this node's gateway, a DNS
// server or a discovery server.
type Allowance struct {
	Nodename string
	Prefix   netip.Prefix
}

// PinnedEndpoint is where the peer with a nodename is. What it announces itself is not used.
type PinnedEndpoint struct {
	Nodename string
	Endpoint netip.AddrPort
}

// String returns NODENAME=ADDRESS:PORT.
func (p PinnedEndpoint) String() string { return p.Nodename + "=" + p.Endpoint.String() }

// Input is everything known at one moment.
type Input struct {
	Config     Config
	Self       Identity
	Host       Host
	Affiliates []Affiliate  // merged over registries, one per node id; that of this node is ignored
	Removed    []string     // node ids that someone has removed from a registry for good
	Stats      []PeerStats  // of every peer that the device has
	Attempts   []Attempt    // of the device, one per address
	Previous   []PeerStatus // Plan.Statuses of the last decision
	Known      []Affiliate  // Plan.Known of the last decision
	Pins       []Pin        // Plan.Pins of the last decision, as Accept and Forget have left them
	Harvested  []Endpoint   // Plan.Endpoints of the last decision
	// StaticUnknown says that nobody knows which static peers there are now.
	StaticUnknown bool
	Rotation      Rotation
	RelayNeed     RelayNeed // Plan.RelayNeed of the last decision
}

// Plan is everything that should be true.
type Plan struct {
	Local    Affiliate      // what to publish about this node
	Specs    []PeerSpec     // sorted by public key
	Peers    []PeerConfig   // for the device; sorted by public key
	Statuses []PeerStatus   // sorted by public key
	Routed   []netip.Prefix // into the tunnel, never in the clear; minimal, sorted
	Routes   []Route        // of every network that peers have; sorted
	// ReturnByTunnel says that peers may send from addresses that are not routed
	// into the tunnel, so that replies must follow the way of the packets.
	ReturnByTunnel bool
	Held           []Held      // networks that are kept out of the clear for their owners; sorted by node id
	Known          []Affiliate // of the peers; sorted by node id
	Pins           []Pin       // to remember; sorted by node id
	Endpoints      []Endpoint  // harvested, to publish for others; sorted by public key
	Members        []Member    // sorted by nodename
	Waiting        []string    // peers that are up and do not have the mesh's next secret yet; sorted
	Conditions     []Condition // sorted
	Rotation       RotationStep
	Relays         RelayWish // without Moves
	RelayNeed      RelayNeed
	Unprepared     []string // with RotationSwitch: labels of the peers that may lose packets
	// Wake is the next time at which a state changes without an event (at the 15 s
	// and 275 s boundaries); zero if there is none. The loop decides again then.
	Wake time.Time
}

// Condition is a problem that a person should know about. It is a result, not a
// log line: the loop logs new ones.
type Condition struct {
	Type    ConditionType `json:"type"`
	Subject string        `json:"subject"` // what it is about: a nodename, node id, prefix or key
	Message string        `json:"message"` // one sentence, with the remedy if the user has one
}

// ConditionType names a kind of condition; stable, for scripts.
type ConditionType string
