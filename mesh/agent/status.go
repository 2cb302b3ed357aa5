package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// Status is the whole agent at a glance, as `wirespan status` shows it.
type Status struct {
	Version       string            `json:"version"`
	Started       time.Time         `json:"started,omitzero"`
	Updated       time.Time         `json:"updated,omitzero"`
	Node          NodeStatus        `json:"node"`
	PortMapping   mesh.PortMapping  `json:"portMapping"`
	Relays        []mesh.RelayView  `json:"relays"`   // that this node uses, or tries to
	Relaying      mesh.RelayingView `json:"relaying"` // for other nodes
	Names         []string          `json:"names"`    // of this node, in DNS
	Cluster       string            `json:"cluster"`  // first 8 characters of the id
	Enabled       bool              `json:"enabled"`
	Backend       string            `json:"backend"`
	BackendReason string            `json:"backendReason,omitempty"`
	Discovery     []DiscoveryStatus `json:"discovery"`
	Peers         []PeerView        `json:"peers"` // sorted by name
	Conditions    []ConditionView   `json:"conditions"`
	Ready         bool              `json:"ready"`
	NotReady      string            `json:"notReady,omitempty"` // why not
	// InitiationsDropped is how many handshakes the device did not start.
	InitiationsDropped uint64 `json:"initiationsDropped,omitempty"`

	changed chan struct{} // closed when a newer status exists
}

// NodeStatus is this node.
type NodeStatus struct {
	ID         string     `json:"id"`
	Nodename   string     `json:"nodename,omitempty"`
	Hostname   string     `json:"hostname"`
	Address    netip.Addr `json:"address"`
	PublicKey  mesh.Key   `json:"publicKey"`
	ListenPort uint16     `json:"listenPort"`
	MTU        int        `json:"mtu"`
	Interface  string     `json:"interface,omitempty"`
	Ephemeral  bool       `json:"ephemeral,omitempty"` // the next boot makes another node of it
}

// DiscoveryStatus is one source of nodes, such as the connection to a discovery service.
type DiscoveryStatus struct {
	Kind       string    `json:"kind"` // "service", "k8s", "static" or "cache"
	Name       string    `json:"name"`
	Server     string    `json:"server"`
	Connected  bool      `json:"connected"`
	Since      time.Time `json:"since,omitzero"`
	Affiliates int       `json:"affiliates"`
	Published  bool      `json:"published"` // it has this node's latest data
	Error      string    `json:"error,omitempty"`
}

// PeerView joins a peer's spec and status.
type PeerView struct {
	PublicKey     mesh.Key       `json:"publicKey"`
	Label         string         `json:"label"`
	Address       netip.Addr     `json:"address"`
	AllowedIPs    []netip.Prefix `json:"allowedIPs"`
	State         mesh.PeerState `json:"state"`
	Reason        string         `json:"reason,omitempty"` // why it is not up
	Endpoint      netip.AddrPort `json:"endpoint"`
	Relay         string         `json:"relay,omitempty"` // the member, or the server, by which the path leads
	ReceiveBytes  uint64         `json:"receiveBytes"`
	TransmitBytes uint64         `json:"transmitBytes"`
	LastHandshake time.Time      `json:"lastHandshakeTime,omitzero"`
	Path          *PathView      `json:"path,omitempty"`
	NodeID        string         `json:"nodeID"`
	Names         []string       `json:"names"`   // in DNS
	Sources       []SourceView   `json:"sources"` // that have the node; none: it is known by its session alone
}

// Name returns the label or, where there is none, the public key.
func (p *PeerView) Name() string { return cmp.Or(p.Label, p.PublicKey.String()) }

// Owns reports whether the peer has addr: as its mesh address, or in a network
// behind it.
func (p *PeerView) Owns(addr netip.Addr) bool {
	return p.Address == addr || slices.ContainsFunc(p.AllowedIPs, func(a netip.Prefix) bool { return a.Contains(addr) })
}

// ConditionView is a condition as people see it.
type ConditionView = mesh.Condition

// Changed is closed when there is a newer status.
func (s *Status) Changed() <-chan struct{} { return s.changed }

// Reaches says why addr can't be reached through the mesh: it is neither this
// node's nor any peer's.
func (s *Status) Reaches(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	if addr == s.Node.Address {
		return nil
	}
	for i := range s.Peers {
		if s.Peers[i].Owns(addr) {
			return nil
		}
	}
	return fmt.Errorf("%s belongs to no peer of this node", addr)
}

// storeStatus makes the status that others see.
func (a *Agent) storeStatus(p *mesh.Plan, now time.Time) {
	names := a.Names()
	s := &Status{
		Version: a.cfg.Version, Started: a.steps.show(a.started), Updated: now,
		Cluster: mesh.ShortClusterID(a.config.ClusterID), Enabled: a.config.KubeSpan.Enabled,
		Backend: a.cfg.Backend.String(), BackendReason: a.cfg.Backend.Reason,
		Node: NodeStatus{
			ID: a.self.NodeID, Nodename: p.Local.Nodename, Hostname: p.Local.Hostname,
			Address: a.self.Address, PublicKey: a.self.PublicKey, MTU: a.config.mtu(a.host.links), Ephemeral: a.cfg.Keys.Ephemeral,
		},
		PortMapping: a.portMapping(), Relays: a.relayViews(), Relaying: a.relayingView(),
		Names: list(names.Of(a.self.Address)), Discovery: a.discoveryStatus(), Peers: a.peerViews(p, names), Conditions: list(p.Conditions),
		changed: make(chan struct{}),
	}
	if a.plane.device != nil {
		s.InitiationsDropped = a.plane.dropped.n
		s.Node.ListenPort = a.plane.device.ListenPort()
	}
	if !a.cfg.Backend.Netstack {
		s.Node.Interface = a.first.InterfaceName
	}
	s.NotReady = notReady(s, a.plane.device != nil, a.schedule.failures)
	if s.NotReady == "" && len(s.Peers) == 0 && a.sources.unreadable {
		s.NotReady = "nothing that other nodes publish can be read: this node's cluster secret is another one than theirs"
	}
	s.Ready = s.NotReady == ""
	close(a.status.Swap(s).changed)
}

func (a *Agent) discoveryStatus() []DiscoveryStatus {
	out := []DiscoveryStatus{}
	for _, r := range a.registries() {
		snap := r.shown()
		d := DiscoveryStatus{
			Kind: string(r.kind), Name: r.name, Server: snap.Server, Connected: snap.Connected, Published: snap.Published,
			Since: a.steps.show(snap.Since), Affiliates: len(snap.Affiliates),
		}
		if snap.LastError != nil {
			d.Error = snap.LastError.Error()
		}
		out = append(out, d)
	}
	if n := len(a.remembering.entries); n > 0 {
		out = append(out, DiscoveryStatus{
			Kind: string(discovery.KindCache), Name: string(discovery.KindCache), Server: state.CacheFile, Connected: true, Published: true,
			Since: a.steps.show(a.remembering.lastConfirmed()), Affiliates: n,
		})
	}
	return out
}

func (a *Agent) peerViews(p *mesh.Plan, names *mesh.Names) []PeerView {
	out := make([]PeerView, 0, len(p.Statuses))
	for i := range p.Statuses { // of each of Specs
		s, spec := &p.Statuses[i], &p.Specs[i]
		at, _ := mesh.Direct(s.Endpoint)
		out = append(out, PeerView{
			s.PublicKey, s.Label, spec.Address, list(spec.AllowedIPs), s.State, notUp(s, len(spec.Endpoints)), at, s.Relay,
			s.ReceiveBytes, s.TransmitBytes, a.steps.show(s.LastHandshakeTime), a.paths[s.Path], spec.NodeID, list(names.Of(spec.Address)),
			list(a.presented.origins[spec.NodeID].sources),
		})
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name() < out[j].Name() })
	return out
}

// notUp says why a peer is not up; empty if it is.
func notUp(s *mesh.PeerStatus, endpoints int) string {
	from := "its endpoint"
	if endpoints > 1 {
		from = fmt.Sprintf("any of its %d endpoints", endpoints)
	}
	switch {
	case s.State == mesh.PeerStateUp:
		return ""
	case endpoints == 0 && !s.Endpoint.IsValid():
		return "it announces no endpoint: it has to connect to this node"
	case s.LastHandshakeTime.IsZero():
		from = "no answer yet from " + from
	default:
		from = "no answer any more from " + from
	}
	if tried := triedText(s.Path); tried != "" {
		from += ": " + tried
	}
	return from
}

// notReady says why a node can't do its job yet; empty if it can. Any source of nodes will
// do, and an outage of discovery does not make a node unready that already knows its peers.
func notReady(s *Status, device bool, failures int) string {
	if s.Enabled && !device {
		return "the tunnel device is not open"
	}
	if failures > 0 {
		return "the last changes could not be applied, see the conditions"
	}
	if len(s.Discovery) == 0 {
		return "nothing tells this node of others: configure a discovery service, kubernetes.kubeconfig or a peersFile"
	}
	known := len(s.Peers) > 0
	for _, d := range s.Discovery {
		known = known || d.Connected
	}
	if !known {
		return "no source of nodes has answered yet"
	}
	return ""
}
