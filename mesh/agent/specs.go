package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// ResourceType is one kind of resource: its full name and the names by which
// people ask for it.
type ResourceType struct {
	Name      string // as in metadata.type
	Namespace string // Talos'
	Plural    string
	Aliases   []string // as Talos makes them, and shorter ones
}

// ResourceTypes are all kinds, in the order in which help lists them.
var ResourceTypes = []ResourceType{
	{"KubeSpanIdentities.kubespan.talos.dev", "kubespan", "kubespanidentities", []string{"kubespanidentity", "ksi", "ksis"}},
	{"KubeSpanPeerSpecs.kubespan.talos.dev", "kubespan", "kubespanpeerspecs", []string{"kubespanpeerspec", "peerspecs", "peerspec", "ksps"}},
	{"KubeSpanPeerStatuses.kubespan.talos.dev", "kubespan", "kubespanpeerstatuses", []string{"kubespanpeerstatus", "peerstatuses", "peerstatus", "peers", "peer", "kspst"}},
	{"KubeSpanEndpoints.kubespan.talos.dev", "kubespan", "kubespanendpoints", []string{"kubespanendpoint", "endpoints", "endpoint", "kse", "kses"}},
	{"KubeSpanConfigs.kubespan.talos.dev", "config", "kubespanconfigs", []string{"kubespanconfig", "ksc", "kscs"}},
	{"Identities.cluster.talos.dev", "cluster", "identities", []string{"identity", "id"}},
	{"Affiliates.cluster.talos.dev", "cluster", "affiliates", []string{"affiliate", "aff"}},
	{"Members.cluster.talos.dev", "cluster", "members", []string{"member", "mem"}},
	{"Routes.wirespan.dev", "wirespan", "routes", []string{"route"}},
	{"Conflicts.wirespan.dev", "wirespan", "conflicts", []string{"conflict"}},
	{"Rules.wirespan.dev", "wirespan", "rules", []string{"rule"}},
}

// FindResourceType finds a type by its plural or an alias, in any case, with or without
// its group: ksi, kubespanidentities.kubespan, KubeSpanIdentities.kubespan.talos.dev.
// The error for an unknown one lists those that there are.
func FindResourceType(name string) (ResourceType, error) {
	want, group, _ := strings.Cut(strings.ToLower(name), ".")
	var plurals []string
	for i := range ResourceTypes {
		t := &ResourceTypes[i]
		_, full, _ := strings.Cut(t.Name, ".")
		inGroup := group == "" || strings.HasPrefix(full+".", group+".")
		if inGroup && (want == t.Plural || slices.Contains(t.Aliases, want)) {
			return *t, nil
		}
		plurals = append(plurals, t.Plural)
	}
	return ResourceType{}, fmt.Errorf("unknown resource %q; there are %s", name, strings.Join(plurals, ", "))
}

// Indices into ResourceTypes.
const (
	typeIdentities = iota
	typePeerSpecs
	typePeerStatuses
	typeEndpoints
	typeConfigs
	typeNodeIdentities
	typeAffiliates
	typeMembers
	typeRoutes
	typeConflicts
	typeRules
)

type identitySpec struct {
	Address    netip.Prefix `json:"address"`
	Subnet     netip.Prefix `json:"subnet"`
	PrivateKey string       `json:"privateKey,omitempty"`
	PublicKey  mesh.Key     `json:"publicKey"`
}

type peerSpecSpec struct {
	Address    netip.Addr       `json:"address"`
	AllowedIPs []netip.Prefix   `json:"allowedIPs"`
	Endpoints  []netip.AddrPort `json:"endpoints"`
	Label      string           `json:"label"`
}

// PeerStatusSpec is the spec of a KubeSpanPeerStatus.
type PeerStatusSpec struct {
	Endpoint           netip.AddrPort `json:"endpoint"`
	Relay              string         `json:"relay,omitempty"` // by which the path leads; not in Talos
	Label              string         `json:"label"`
	State              mesh.PeerState `json:"state"`
	ReceiveBytes       uint64         `json:"receiveBytes"`
	TransmitBytes      uint64         `json:"transmitBytes"`
	LastHandshakeTime  time.Time      `json:"lastHandshakeTime,omitzero"`
	LastUsedEndpoint   netip.AddrPort `json:"lastUsedEndpoint"`
	LastEndpointChange time.Time      `json:"lastEndpointChange,omitzero"`
	Path               *PathView      `json:"path,omitempty"` // not in Talos
}

type endpointSpec struct {
	AffiliateID string         `json:"affiliateID"`
	Endpoint    netip.AddrPort `json:"endpoint"`
}

type configSpec struct {
	Enabled                     bool             `json:"enabled"`
	ClusterID                   string           `json:"clusterId"`
	SharedSecret                string           `json:"sharedSecret,omitempty"`
	ForceRouting                bool             `json:"forceRouting"`
	AdvertiseKubernetesNetworks bool             `json:"advertiseKubernetesNetworks"`
	MTU                         int              `json:"mtu"`
	EndpointFilters             []string         `json:"endpointFilters,omitempty"`
	HarvestExtraEndpoints       bool             `json:"harvestExtraEndpoints"`
	ExtraEndpoints              []netip.AddrPort `json:"extraEndpoints,omitempty"`
	ExcludeAdvertisedNetworks   []netip.Prefix   `json:"excludeAdvertisedNetworks,omitempty"`
}

type nodeIdentitySpec struct {
	NodeID string `json:"nodeId"`
}

type affiliateSpec struct {
	NodeID          string            `json:"nodeId"`
	Addresses       []netip.Addr      `json:"addresses"`
	Hostname        string            `json:"hostname"`
	Nodename        string            `json:"nodename,omitempty"`
	OperatingSystem string            `json:"operatingSystem"`
	MachineType     mesh.MachineType  `json:"machineType"`
	KubeSpan        *kubeSpanSpec     `json:"kubespan,omitempty"`
	ControlPlane    *controlPlaneSpec `json:"controlPlane,omitempty"`

	// Not in Talos.
	Sources   []SourceView        `json:"sources,omitempty"`   // the most believed first; none: this node
	Contested map[string][]string `json:"contested,omitempty"` // fields that sources differ in, and those that are believed
}

type kubeSpanSpec struct {
	PublicKey                 mesh.Key         `json:"publicKey"`
	Address                   netip.Addr       `json:"address"`
	AdditionalAddresses       []netip.Prefix   `json:"additionalAddresses"`
	Endpoints                 []netip.AddrPort `json:"endpoints"`
	ExcludeAdvertisedNetworks []netip.Prefix   `json:"excludeAdvertisedNetworks,omitempty"`
}

type controlPlaneSpec struct {
	Port uint16 `json:"port"`
}

type memberSpec struct {
	NodeID          string            `json:"nodeId"`
	Addresses       []netip.Addr      `json:"addresses"`
	Hostname        string            `json:"hostname"`
	MachineType     mesh.MachineType  `json:"machineType"`
	OperatingSystem string            `json:"operatingSystem"`
	ControlPlane    *controlPlaneSpec `json:"controlPlane,omitempty"`
}

// present writes the whole plan into the resource store. It passes over long lists
// that are as they were in the last pass.
func (a *Agent) present(p *mesh.Plan, affiliates []mesh.Affiliate, now time.Time) {
	put := func(typ int, entries []entry) { a.resources.update(ResourceTypes[typ], entries, now) }
	put(typeNodeIdentities, []entry{{id: "local", spec: nodeIdentitySpec{a.self.NodeID}}})
	put(typeIdentities, a.identityEntries())
	put(typeConfigs, []entry{a.configEntry()})
	specs := equal(p.Specs, a.previous.Specs, sameSpec)
	if !specs {
		put(typePeerSpecs, entries(len(p.Specs), func(i int) entry {
			s := &p.Specs[i]
			return entry{id: s.PublicKey.String(), spec: peerSpecSpec{s.Address, list(s.AllowedIPs), list(s.Endpoints), s.Label}}
		}))
	}
	put(typePeerStatuses, entries(len(p.Statuses), func(i int) entry {
		s := &p.Statuses[i]
		at, _ := mesh.Direct(s.Endpoint)
		last, _ := mesh.Direct(s.LastUsedEndpoint)
		return entry{id: s.PublicKey.String(), spec: PeerStatusSpec{
			at, s.Relay, s.Label, s.State, s.ReceiveBytes, s.TransmitBytes,
			a.steps.show(s.LastHandshakeTime), last, a.steps.show(s.LastEndpointChange), a.paths[s.Path],
		}}
	}))
	put(typeEndpoints, entries(len(p.Endpoints), func(i int) entry {
		e := &p.Endpoints[i]
		return entry{id: e.PublicKey.String(), spec: endpointSpec{e.AffiliateID, e.Endpoint}}
	}))
	if a.presented.follow(a, &p.Local, affiliates) {
		others := entries(len(affiliates), func(i int) entry { return a.affiliateEntry(&affiliates[i]) })
		put(typeAffiliates, append([]entry{a.affiliateEntry(&p.Local)}, others...))
	}
	put(typeMembers, entries(len(p.Members), func(i int) entry {
		m := &p.Members[i]
		return entry{id: m.Nodename, spec: memberSpec{
			m.NodeID, list(m.Addresses), m.Hostname, m.MachineType, m.OperatingSystem, controlPlane(m.ControlPlanePort),
		}}
	}))
	if !specs || !sameRoutes(p, a.previous) {
		put(typeRoutes, routeEntries(p))
	}
	put(typeConflicts, conflictEntries(p.Conditions))
	put(typeRules, a.ruleEntries())
}

func (a *Agent) identityEntries() []entry {
	if !a.config.KubeSpan.Enabled {
		return nil
	}
	spec := identitySpec{netip.PrefixFrom(a.self.Address, a.self.Address.BitLen()), a.self.Subnet, "", a.self.PublicKey}
	revealed := spec
	revealed.PrivateKey = a.self.PrivateKey.RevealBase64()
	return []entry{{id: "local", spec: spec, revealed: revealed}}
}

func (a *Agent) configEntry() entry {
	c, m := a.config, a.config.mesh(a.host.links)
	spec := configSpec{
		Enabled: m.Enabled, ClusterID: mesh.ShortClusterID(c.ClusterID), ForceRouting: m.ForceRouting,
		AdvertiseKubernetesNetworks: c.KubeSpan.AdvertiseKubernetesNetworks, MTU: m.MTU,
		HarvestExtraEndpoints: m.HarvestExtraEndpoints, ExtraEndpoints: m.ExtraAnnouncedEndpoints,
		ExcludeAdvertisedNetworks: m.ExcludeAdvertisedNetworks,
	}
	for _, f := range m.EndpointFilters {
		spec.EndpointFilters = append(spec.EndpointFilters, f.String())
	}
	revealed := spec
	revealed.ClusterID = c.ClusterID
	revealed.SharedSecret = c.ClusterSecret.RevealBase64()
	return entry{id: "kubespan", spec: spec, revealed: revealed}
}

func (a *Agent) affiliateEntry(x *mesh.Affiliate) entry {
	from := a.presented.origins[x.NodeID]
	spec := affiliateSpec{
		NodeID: x.NodeID, Addresses: list(x.Addresses), Hostname: x.Hostname, Nodename: x.Nodename,
		OperatingSystem: x.OperatingSystem, MachineType: x.MachineType, ControlPlane: controlPlane(x.ControlPlanePort),
		Sources: from.sources, Contested: from.fields,
	}
	if !x.PublicKey.IsZero() {
		spec.KubeSpan = &kubeSpanSpec{x.PublicKey, x.Address, list(x.AdditionalAddresses), list(x.Endpoints), x.ExcludeAdvertisedNetworks}
	}
	return entry{id: x.NodeID, spec: spec}
}

func controlPlane(port uint16) *controlPlaneSpec {
	if port == 0 {
		return nil
	}
	return &controlPlaneSpec{port}
}

// list returns items as a list that JSON shows as [] if it is empty.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// entries returns as many entries, each of which f makes.
func entries(n int, f func(i int) entry) []entry {
	out := make([]entry, n)
	for i := range out {
		out[i] = f(i)
	}
	return out
}

type routeSpec struct {
	Prefix    netip.Prefix   `json:"prefix"`
	Peer      string         `json:"peer"`
	PublicKey mesh.Key       `json:"publicKey"`
	State     mesh.PeerState `json:"state"`
	Path      mesh.Path      `json:"path"`
}

type ruleSpec struct {
	Chain string `json:"chain"`
	Rule  string `json:"rule"`
}

// routeEntries are the networks of peers; their mesh addresses are in the specs.
func routeEntries(p *mesh.Plan) []entry {
	out := make([]entry, 0, len(p.Routes))
	for _, r := range p.Routes {
		if r.Path != mesh.PathMesh {
			spec, status := &p.Specs[r.Peer], &p.Statuses[r.Peer]
			out = append(out, entry{id: r.Prefix.String(), spec: routeSpec{r.Prefix, spec.Label, spec.PublicKey, status.State, r.Path}})
		}
	}
	return out
}

func conflictEntries(conditions []mesh.Condition) []entry {
	var out []entry
	times := map[string]int{}
	for i := range conditions {
		c := &conditions[i]
		if !c.Type.Conflict() {
			continue
		}
		id := fmt.Sprintf("%s/%s", c.Type, c.Subject)
		if times[id]++; times[id] > 1 {
			id = fmt.Sprintf("%s#%d", id, times[id])
		}
		out = append(out, entry{id: id, spec: c})
	}
	return out
}

// ruleEntries are the rules that are in place, in the order in which packets
// meet them: for a netstack, its ingress chain.
func (a *Agent) ruleEntries() []entry {
	var out []entry
	chains := a.routing.compiled.Chains
	for k := range chains {
		c := &chains[k]
		if a.cfg.Backend.Netstack && c.Name != "ingress" {
			continue
		}
		for i := range c.Rules {
			out = append(out, entry{id: fmt.Sprintf("%s/%02d", c.Name, i+1), spec: ruleSpec{c.Name, c.Rules[i].String()}})
		}
	}
	return out
}
