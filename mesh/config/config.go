package config

import (
	"cmp"
	"net/netip"
	"reflect"

	"github.com/wirespan/wirespan/mesh"
)

// Config is the whole configuration, validated. The fields of [Wirespan] are
// this agent's own; the rest comes from the Talos documents.
type Config struct {
	Wirespan
	KubeSpan KubeSpan

	// Services are the discovery services in the files.
	Services []Service
	// KubernetesRegistry is set if the files enable discovery through Kubernetes.
	KubernetesRegistry bool
	// HasIdentity is set if the files hold a cluster identity.
	HasIdentity bool
	// ClusterID is a credential: show it only through [mesh.ShortClusterID].
	ClusterID     string
	ClusterSecret mesh.Secret

	// HostRules is set if the files hold a NetworkDefaultActionConfig or a
	// NetworkRuleConfig of Talos. These are checked but do not apply to the mesh.
	HostRules bool
	// Given lists the values of WirespanConfig that are not defaults, with their sources.
	Given []Given
	// Ignored lists the documents of other kinds.
	Ignored []Ignored
}

// KubeSpan holds the settings of KubeSpanConfig (or the machine configuration's
// kubespan section) and KubeSpanEndpointsConfig.
type KubeSpan struct {
	Enabled                     bool
	AdvertiseKubernetesNetworks bool
	AllowDownPeerBypass         bool
	HarvestExtraEndpoints       bool
	MTU                         int           // 0: not configured
	EndpointFilters             []mesh.Filter // nil: no filtering; empty: nothing passes
	ExcludeAdvertisedNetworks   []netip.Prefix
	ExtraAnnouncedEndpoints     []netip.AddrPort
}

// Service is one discovery service.
type Service struct {
	Name     string
	Endpoint string // host:port, IPv6 in brackets
	Insecure bool   // plaintext instead of TLS
}

// Ignored is the kind and the position of a document that was skipped.
type Ignored struct {
	Kind string
	File string
	Line int
}

// Standalone reports whether the files hold no cluster identity: the agent then
// founds a cluster or joins one by token.
func (c *Config) Standalone() bool { return !c.HasIdentity }

// discovers reports whether anything tells this node of others. One source of any kind is
// enough.
func (c *Config) discovers() bool {
	return len(c.Services) > 0 || c.PeersFile != "" || c.UsesKubernetes(true)
}

// announceAsMember returns the setting or its default. A member's nodename hides a
// Talos node of the same name from Talos, so in a cluster that may have Talos nodes
// only the user makes this node a member.
func (c *Config) announceAsMember() bool {
	if c.AnnounceAsMember != nil {
		return *c.AnnounceAsMember
	}
	return c.Standalone()
}

// Mesh returns the part of the configuration that decisions depend on. Its MTU is
// Talos' default if KubeSpan.MTU is 0.
func (c *Config) Mesh() mesh.Config {
	return mesh.Config{
		Enabled:                   c.KubeSpan.Enabled,
		ClusterSecret:             c.ClusterSecret,
		ForceRouting:              !c.KubeSpan.AllowDownPeerBypass,
		HarvestExtraEndpoints:     c.KubeSpan.HarvestExtraEndpoints,
		AdvertisePodNetworks:      c.KubeSpan.AdvertiseKubernetesNetworks,
		Cycle:                     c.EndpointStrategy == StrategyCycle,
		UseRelays:                 c.Relay != RelayNever,
		RelayServers:              c.RelayServers,
		RelayNetworks:             c.RelayNetworks,
		PeerEndpoints:             c.PeerEndpoints,
		PeerEndpointFilters:       c.PeerEndpointFilters,
		MTU:                       cmp.Or(c.KubeSpan.MTU, mesh.DefaultMTU),
		EndpointFilters:           c.KubeSpan.EndpointFilters,
		ExcludeAdvertisedNetworks: c.KubeSpan.ExcludeAdvertisedNetworks,
		ExtraAnnouncedEndpoints:   c.KubeSpan.ExtraAnnouncedEndpoints,
		AddressFilters:            c.AddressFilters,
		MachineType:               c.MachineType,
		AnnounceAsMember:          c.announceAsMember(),
		AdvertisedNetworks:        c.AdvertisedNetworks,
		AllowedNetworks:           c.AllowedNetworks,
		HoldNetworks:              c.HoldNetworks,
		SiteNetworks:              c.SiteNetworks,
		SiteOnLink:                c.SiteOnLink,
		Domain:                    c.DNS.Domain,
	}
}

// Diff lists the keys of changed settings that apply only after a restart, in the
// order of [Settings]. Every other change can be applied live.
func Diff(old, new *Config) (restart []string) {
	for s := range Settings() {
		if s.Restart && !reflect.DeepEqual(s.at(&old.Wirespan).field, s.at(&new.Wirespan).field) {
			restart = append(restart, s.Key)
		}
	}
	return restart
}
