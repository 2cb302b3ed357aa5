package config

import (
	"cmp"
	"net/netip"

	"github.com/wirespan/wirespan/mesh"
)

// Config is the whole configuration, validated. The fields of [Wirespan] are
// this agent's own; the rest is what the Talos documents say.
type Config struct {
	Wirespan
	KubeSpan KubeSpan

	// Services are the discovery services that the files name.
	Services []Service
	// KubernetesRegistry says that the files enable discovery through Kubernetes.
	KubernetesRegistry bool
	// HasIdentity says that the files hold a cluster identity.
	HasIdentity bool
	// ClusterID is a credential: shorten it wherever it is shown.
	ClusterID     string
	ClusterSecret mesh.Secret

	// HostRules says that the files hold Talos' NetworkDefaultActionConfig or
	// NetworkRuleConfig. They are checked, but do not apply to the mesh.
	HostRules bool
	// Ignored are the documents of kinds that are not ours.
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

// Ignored is a document that was skipped, and where it stands.
type Ignored struct {
	Kind string
	File string
	Line int
}

// Standalone reports that the files name no cluster: the agent makes its own or
// joins one by token.
func (c *Config) Standalone() bool { return !c.HasIdentity }

// Mesh is the part that decisions depend on. The MTU is Talos' default if none
// is configured; KubeSpan.MTU tells.
func (c *Config) Mesh() mesh.Config {
	return mesh.Config{
		Enabled:                   c.KubeSpan.Enabled,
		ClusterSecret:             c.ClusterSecret,
		ForceRouting:              !c.KubeSpan.AllowDownPeerBypass,
		HarvestExtraEndpoints:     c.KubeSpan.HarvestExtraEndpoints,
		MTU:                       cmp.Or(c.KubeSpan.MTU, mesh.DefaultMTU),
		EndpointFilters:           c.KubeSpan.EndpointFilters,
		ExcludeAdvertisedNetworks: c.KubeSpan.ExcludeAdvertisedNetworks,
		ExtraAnnouncedEndpoints:   c.KubeSpan.ExtraAnnouncedEndpoints,
		AddressFilters:            c.AddressFilters,
		MachineType:               c.MachineType,
		AnnounceAsMember:          c.AnnounceAsMember,
		AdvertisedNetworks:        c.AdvertisedNetworks,
		AllowedNetworks:           c.AllowedNetworks,
		SiteNetworks:              c.SiteNetworks,
		SiteOnLink:                c.SiteOnLink,
	}
}

// Diff names the changed settings that apply only after a restart, in the order
// of [Settings]; every other change can be applied live.
func Diff(old, new *Config) (restart []string) {
	for _, s := range Settings() {
		if s.Restart && s.at(&old.Wirespan).text() != s.at(&new.Wirespan).text() {
			restart = append(restart, s.Key)
		}
	}
	return restart
}
