package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func loadFile(t *testing.T, name string) *config.Config {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load([]config.File{{Name: name, Data: data}}, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func filters(t *testing.T, list ...string) (out []mesh.Filter) {
	t.Helper()
	for _, s := range list {
		f, err := mesh.ParseFilter(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func TestCompleteMachineConfig(t *testing.T) {
	c := loadFile(t, "talos-legacy.yaml")
	want := mesh.Config{
		UseRelays:                 true,
		Enabled:                   true,
		ClusterSecret:             c.ClusterSecret,
		ForceRouting:              false,
		HarvestExtraEndpoints:     true,
		MTU:                       1380,
		EndpointFilters:           filters(t, "0.0.0.0/0", "!192.168.0.0/16", "::/0"),
		ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("2003::/16")},
		MachineType:               mesh.MachineUnknown, Domain: "mesh", // although the file says controlplane
		HoldNetworks: 24 * time.Hour,
	}
	if got := c.Mesh(); !reflect.DeepEqual(got, want) {
		t.Errorf("Mesh:\n%+v\nwant:\n%+v", got, want)
	}
	if got := c.ClusterSecret.RevealBase64(); got != "JEHj1UQQSSt4h2i8/yIYz49zc6vo45Ta+AfiTljDZ0A=" {
		t.Error("wrong cluster secret")
	}
	if c.ClusterID != "c6m-9Jm79Nx70qTyyK9b2Z8meg7TGXIX3Su6FTdDblw=" || !c.HasIdentity || c.Standalone() {
		t.Errorf("identity: id %q, has %v, standalone %v", c.ClusterID, c.HasIdentity, c.Standalone())
	}
	services := []config.Service{{Name: "legacy", Endpoint: "discovery.talos.dev:443"}}
	if !reflect.DeepEqual(c.Services, services) || c.KubernetesRegistry {
		t.Errorf("services %v, Kubernetes %v", c.Services, c.KubernetesRegistry)
	}
	if c.Hostname != "" || c.Nodename != "" || len(c.Ignored) != 0 { // the file has the hostname of a Talos node
		t.Errorf("hostname %q, nodename %q, ignored %v", c.Hostname, c.Nodename, c.Ignored)
	}
}

func TestCompleteMultiDocument(t *testing.T) {
	c := loadFile(t, "talos-multidoc.yaml")
	want := mesh.Config{
		UseRelays:                 true,
		Enabled:                   true,
		ClusterSecret:             c.ClusterSecret,
		ForceRouting:              true,
		AdvertisePodNetworks:      true,
		HarvestExtraEndpoints:     true,
		MTU:                       1400,
		EndpointFilters:           filters(t, "192.0.2.0/24", "!192.0.2.128/25"),
		ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		ExtraAnnouncedEndpoints:   []netip.AddrPort{netip.MustParseAddrPort("198.51.100.7:51820"), netip.MustParseAddrPort("[2001:db8::7]:443")},
		MachineType:               mesh.MachineUnknown, Domain: "mesh",
		HoldNetworks: 24 * time.Hour,
	}
	if got := c.Mesh(); !reflect.DeepEqual(got, want) {
		t.Errorf("Mesh:\n%+v\nwant:\n%+v", got, want)
	}
	if !c.KubeSpan.AdvertiseKubernetesNetworks || c.ClusterSecret.IsZero() || c.Hostname != "" {
		t.Errorf("KubeSpan %+v, secret set %v, hostname %q", c.KubeSpan, !c.ClusterSecret.IsZero(), c.Hostname)
	}
	services := []config.Service{
		{Name: "default", Endpoint: "discovery.talos.dev:443"},
		{Name: "inhouse", Endpoint: "[2001:db8::53]:3000", Insecure: true},
	}
	if !reflect.DeepEqual(c.Services, services) {
		t.Errorf("services %v", c.Services)
	}
	var ignored strings.Builder
	for _, i := range c.Ignored {
		fmt.Fprintf(&ignored, "%s:%d %s\n", i.File, i.Line, i.Kind)
	}
	golden(t, "talos-multidoc.ignored", []byte(ignored.String()))
	if !c.HostRules {
		t.Error("the files hold rules for the host")
	}
}

func TestServiceEndpoints(t *testing.T) {
	for _, tt := range []struct {
		endpoint, want string
		insecure       bool
	}{
		{"https://a.example", "a.example:443", false},
		{"HTTPS://a.example/", "a.example:443", false},
		{"grpc://a.example", "a.example:443", false},
		{"grpc://a.example:3000/path?query", "a.example:3000", false},
		{"http://a.example", "a.example:80", true},
		{"http://192.0.2.1:3000", "192.0.2.1:3000", true},
		{"https://[2001:db8::1]", "[2001:db8::1]:443", false},
		{"https://[2001:db8::1]:8443/", "[2001:db8::1]:8443", false},
	} {
		c := mustLoad(t, docs(identityDoc, "apiVersion: v1alpha1\nkind: DiscoveryServiceConfig\nname: a\nendpoint: "+tt.endpoint+"\n"), config.Options{})
		want := []config.Service{{Name: "a", Endpoint: tt.want, Insecure: tt.insecure}}
		if !reflect.DeepEqual(c.Services, want) {
			t.Errorf("%s: %v, want %v", tt.endpoint, c.Services, want)
		}
	}
}

func TestLegacyDiscovery(t *testing.T) {
	for _, tt := range []struct {
		name, discovery string
		service         string
		kubernetes      bool
	}{
		{"absent", "", "", false},
		{"null", "discovery: ,", "", false},
		{"off", "discovery: {enabled: false},", "", false},
		{"on", "discovery: {enabled: true},", "discovery.talos.dev:443", true},
		{"no Kubernetes", "discovery: {enabled: true, registries: {kubernetes: {disabled: true}}},", "discovery.talos.dev:443", false},
		{"no service", "discovery: {enabled: yes, registries: {service: {disabled: true}}},", "", true},
		{"other service", "discovery: {enabled: true, registries: {service: {endpoint: 'http://d/'}}},", "d:80", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, "cluster: {"+tt.discovery+" id: a, secret: "+testSecret+"}\n", config.Options{})
			got := ""
			for _, s := range c.Services {
				got += s.Endpoint
			}
			if got != tt.service || c.KubernetesRegistry != tt.kubernetes {
				t.Errorf("service %q, Kubernetes %v; want %q, %v", got, c.KubernetesRegistry, tt.service, tt.kubernetes)
			}
		})
	}
}

func TestEnabled(t *testing.T) {
	provided := config.Options{ClusterProvided: true}
	off := "apiVersion: v1alpha1\nkind: KubeSpanConfig\n"
	for _, tt := range []struct {
		name, yaml          string
		options             config.Options
		enabled, standalone bool
	}{
		{"nothing", "", config.Options{}, true, true},
		{"an empty document", "---\n# nothing\n---\n", config.Options{}, true, true},
		{"own settings only", wirespan("mac: \"\"\n"), config.Options{}, true, true},
		{"foreign documents only", "apiVersion: v1alpha1\nkind: LinkConfig\nname: a\n", config.Options{}, true, true},
		{"a machine configuration without cluster", "machine: {type: worker}\n", config.Options{}, true, true},
		{"KubeSpan on, cluster provided", kubeSpanDoc, provided, true, true},
		{"KubeSpan off, cluster provided", off, provided, false, true},
		{"legacy KubeSpan off", "machine: {network: {kubespan: {}}}\n", config.Options{}, false, true},
		{"service only, cluster provided", serviceDoc, provided, true, true},
		{"identity only", identityDoc, config.Options{}, false, false},
		{"identity and service", docs(identityDoc, serviceDoc), config.Options{}, false, false},
		{"identity, service and KubeSpan", docs(identityDoc, serviceDoc, kubeSpanDoc), config.Options{}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, tt.yaml, tt.options)
			if c.Mesh().Enabled != tt.enabled || c.Standalone() != tt.standalone {
				t.Errorf("enabled %v, standalone %v", c.Mesh().Enabled, c.Standalone())
			}
		})
	}
}

// A provided cluster does not complete half an identity in the files.
func TestProvidedClusterWithIdentity(t *testing.T) {
	provided := config.Options{ClusterProvided: true}
	_, err := load(docs(identityDoc, kubeSpanDoc), provided)
	wantProblems(t, err, "a.yaml:6: KubeSpan requires cluster discovery to be enabled")
	_, err = load(docs("cluster: {id: a}\n", serviceDoc), provided)
	wantProblems(t, err, "a.yaml:3: cluster secret (.cluster.secret or DiscoveryIdentityConfig) "+
		"should be set when cluster discovery (DiscoveryServiceConfig) is enabled")
}

func TestKubeSpanDefaults(t *testing.T) {
	provided := config.Options{ClusterProvided: true}
	c := mustLoad(t, kubeSpanDoc, provided)
	want := mesh.Config{UseRelays: true, Enabled: true, ForceRouting: true, HarvestExtraEndpoints: true, MTU: 1420, MachineType: mesh.MachineUnknown, Domain: "mesh", AnnounceAsMember: true, HoldNetworks: 24 * time.Hour}
	if got := c.Mesh(); !reflect.DeepEqual(got, want) || c.KubeSpan.MTU != 0 {
		t.Errorf("Mesh %+v, MTU %d", got, c.KubeSpan.MTU)
	}
	for _, tt := range []struct {
		keys  string
		isNil bool
	}{{"filters: {}\n", true}, {"filters: {endpoints: }\n", true}, {"filters: {endpoints: []}\n", false}} {
		if f := mustLoad(t, kube(tt.keys), provided).Mesh().EndpointFilters; (f == nil) != tt.isNil || len(f) != 0 {
			t.Errorf("%q: filters %#v", tt.keys, f)
		}
	}
	// As in Talos, 0 is the default in a machine configuration.
	if c := mustLoad(t, "machine: {network: {kubespan: {enabled: true, mtu: 0}}}\n", provided); c.KubeSpan.MTU != 0 {
		t.Errorf("mtu: 0 is %d", c.KubeSpan.MTU)
	}
	// A disabled section of the machine configuration is not checked, as in Talos.
	mustLoad(t, "machine: {network: {kubespan: {mtu: 1, filters: {endpoints: [x], excludeAdvertisedNetworks: [y]}}}}\n", provided)
}

func TestMergeKeys(t *testing.T) {
	c := mustLoad(t, "x: &x {kubespan: &k {enabled: true, mtu: 1300}}\n"+
		"machine:\n  network:\n    <<: [*x, {kubespan: {mtu: 1500}}]\n    hostname: own\n", config.Options{ClusterProvided: true})
	if c.KubeSpan.MTU != 1300 {
		t.Errorf("MTU %d", c.KubeSpan.MTU)
	}
}

func TestMergeOrder(t *testing.T) {
	c := mustLoad(t, "machine: {network: {<<: [{<<: {kubespan: {mtu: 1300}}}, {kubespan: {mtu: 1400}}]}}\n", config.Options{})
	if c.KubeSpan.MTU != 1300 {
		t.Errorf("MTU %d", c.KubeSpan.MTU)
	}
}

func TestConfigPrintsNoSecret(t *testing.T) {
	c := mustLoad(t, identityDoc, config.Options{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		out := fmt.Sprintf(verb, c)
		if strings.Contains(out, testSecret) || strings.Contains(out, "1, 2, 3") || strings.Contains(out, "010203") {
			t.Errorf("%s shows the secret: %s", verb, out)
		}
	}
}

// A node of a cluster that may have Talos nodes is no member unless the user says so.
func TestAnnounceAsMember(t *testing.T) {
	provided := config.Options{ClusterProvided: true}
	talos := docs(identityDoc, serviceDoc, kubeSpanDoc)
	for _, tt := range []struct {
		name, yaml string
		want       bool
	}{
		{"own mesh", kubeSpanDoc, true},
		{"own mesh, off", wirespan("announceAsMember: false\n"), false},
		{"Talos", talos, false},
		{"Talos, on", docs(talos, wirespan("announceAsMember: true\n")), true},
		{"Talos, named", docs(talos, wirespan("nodename: box\n")), false},
	} {
		if m := mustLoad(t, tt.yaml, provided).Mesh(); m.AnnounceAsMember != tt.want {
			t.Errorf("%s: announced as a member: %v", tt.name, m.AnnounceAsMember)
		}
	}
}
