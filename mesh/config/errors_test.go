package config_test

import (
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh/config"
)

type errorCase struct {
	name string
	yaml string
	want []string
}

func runErrors(t *testing.T, cases []errorCase) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(tt.yaml, config.Options{})
			wantProblems(t, err, tt.want...)
		})
	}
}

func TestDocumentErrors(t *testing.T) {
	runErrors(t, []errorCase{
		{"syntax", "apiVersion: v1alpha1\nkind: [", []string{`a.yaml:2: yaml: did not find expected node content`}},
		{"not a mapping", "- a\n", []string{"a.yaml:1: expected a YAML document at line 1"}},
		{"a word", "--- \nhello\n", []string{"a.yaml:2: expected a YAML document at line 2"}},
		{"empty mapping", "{}\n", []string{"a.yaml:1: missing kind"}},
		{"missing kind", "# c\napiVersion: v1alpha1\nenabled: true\n", []string{"a.yaml:2: missing kind"}},
		{"missing apiVersion", "kind: KubeSpanConfig\n", []string{"a.yaml:1: missing apiVersion"}},
		{"kind is a list", "apiVersion: v1alpha1\nkind: [a]\n", []string{
			"a.yaml:2: kind: expected a string", "a.yaml:1: missing kind",
		}},
		{"other version", "apiVersion: v1\nkind: KubeSpanConfig\n", []string{`a.yaml:2: "KubeSpanConfig" "v1": not registered`}},
		{"Kubernetes manifest", "apiVersion: v1\nkind: Pod\n", []string{`a.yaml:2: "Pod" "v1": not registered`}},
		{"case of kind", "apiVersion: v1alpha1\nkind: KubespanEndpointsConfig\n", []string{
			`a.yaml:2: "KubespanEndpointsConfig" "v1alpha1": not registered; did you mean "KubeSpanEndpointsConfig"?`,
		}},
		{"near kind", "apiVersion: v1alpha1\nkind: WirespanConf\n", []string{
			`a.yaml:2: "WirespanConf" "v1alpha1": not registered; did you mean "WirespanConfig"?`,
		}},
		{"unknown keys", "apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabld: true\nfoo: {a: 1}\n", []string{
			`a.yaml:3: unknown keys found during decoding: enabld (line 3; did you mean "enabled"?), foo (line 4)`,
		}},
		{"unknown nested key", kube("filters:\n  endpoint: []\n"), []string{
			`a.yaml:5: unknown keys found during decoding: filters.endpoint (line 5; did you mean "endpoints"?)`,
		}},
		{"unprintable key", kube("\"a\\e[31m\\nb\": 1\n"), []string{"a.yaml:4: unknown keys found during decoding: a?[31m?b (line 4)"}},
		{"unknown secret key", identityDoc + "clustrSecret: " + testSecret + "\n", []string{
			`a.yaml:5: unknown keys found during decoding: clustrSecret (line 5; did you mean "clusterSecret"?)`,
		}},
		{"key twice", kube("enabled: false\n"), []string{`a.yaml:4: mapping key "enabled" already defined at line 3`}},
		{"wrong types", kube("mtu: big\nharvestExtraEndpoints: 3\nfilters:\n  endpoints: x\n  excludeAdvertisedNetworks: [{}]\n"), []string{
			"a.yaml:5: harvestExtraEndpoints: expected true or false",
			"a.yaml:4: mtu: expected a whole number",
			"a.yaml:7: filters.endpoints: expected a list of at most 1024 strings",
			"a.yaml:8: filters.excludeAdvertisedNetworks: expected a list of strings",
		}},
		{"MTU with a fraction", kube("mtu: 1420.5\n"), []string{"a.yaml:4: mtu: expected a whole number"}},
		{"port with a fraction", wirespan("listenPort: 51820.5\n"), []string{"a.yaml:3: WirespanConfig: listenPort: expected a whole number"}},
		{"misplaced discovery", "machine:\n  discovery:\n    enabled: true\n", []string{
			"a.yaml:2: unknown keys found during decoding: machine.discovery (line 2; discovery belongs under cluster: cluster.discovery)",
		}},
		{"filters is a list", kube("filters: []\n"), []string{"a.yaml:4: filters: expected a mapping"}},
		{"secret of wrong type", "apiVersion: v1alpha1\nkind: DiscoveryIdentityConfig\nclusterID: a\nclusterSecret: [" + testSecret + "]\n", []string{
			"a.yaml:4: clusterSecret: expected a string",
		}},
		{"duplicate", docs(kubeSpanDoc, kubeSpanDoc), []string{
			"a.yaml:5: duplicate document v1alpha1/KubeSpanConfig/ is not allowed (line 5)",
		}},
		{"duplicate name", docs(serviceDoc, serviceDoc), []string{
			"a.yaml:6: duplicate document v1alpha1/DiscoveryServiceConfig/a is not allowed (line 6)",
		}},
		{"duplicate machine config", docs("machine: {}\n", "cluster: {}\n"), []string{
			"a.yaml:3: duplicate document /v1alpha1/ is not allowed (line 3)",
		}},
		{"too many documents", strings.Repeat("---\napiVersion: v1alpha1\nkind: LinkConfig\n", 257), []string{
			"a.yaml:769: more than 256 documents",
		}},
		{"too long list", kube("filters: {endpoints: [" + strings.Repeat("a,", 1025) + "]}\n"), []string{
			"a.yaml:4: filters.endpoints: expected a list of at most 1024 strings",
		}},
	})
}

func TestDuplicateAcrossFiles(t *testing.T) {
	_, err := config.Load([]config.File{
		{Name: "a.yaml", Data: []byte(docs(kubeSpanDoc, "machine: {}\n", serviceDoc))},
		{Name: "b.yaml", Data: []byte(docs(kubeSpanDoc, "machine: {}\n", serviceDoc))},
	}, config.Options{})
	wantProblems(t, err,
		"b.yaml:1: duplicate document: KubeSpanConfig/",
		"b.yaml:5: duplicate v1alpha1.Config",
		"b.yaml:7: duplicate document: DiscoveryServiceConfig/a")
}

func TestKubeSpanErrors(t *testing.T) {
	legacy := func(keys string) string { return "machine: {network: {kubespan: {" + keys + "}}}\n" }
	cluster := docs(identityDoc, serviceDoc)
	runErrors(t, []errorCase{
		{"low MTU", docs(cluster, kube("mtu: 1279\n")), []string{
			"a.yaml:14: KubeSpanConfig: kubespan link MTU must be at least 1280",
		}},
		{"zero MTU", docs(cluster, kube("mtu: 0\n")), []string{
			"a.yaml:14: KubeSpanConfig: kubespan link MTU must be at least 1280",
		}},
		{"low MTU, off", docs(cluster, "apiVersion: v1alpha1\nkind: KubeSpanConfig\nmtu: 1000\n"), []string{
			"a.yaml:13: KubeSpanConfig: kubespan link MTU must be at least 1280",
		}},
		{"high MTU", docs(cluster, kube("mtu: 65536\n")), []string{
			"a.yaml:14: KubeSpanConfig: kubespan link MTU must be at most 65535",
		}},
		{"filter", docs(cluster, kube("filters:\n    endpoints:\n        - '!1.2.3'\n        - '!!10.0.0.0/8'\n        - 10.0.0.0/8\n")), []string{
			`a.yaml:16: KubeSpanConfig: KubeSpan endpoint filter is not valid: "1.2.3"`,
			`a.yaml:17: KubeSpanConfig: KubeSpan endpoint filter is not valid: "!10.0.0.0/8"`,
		}},
		{"excluded network", docs(cluster, kube("filters:\n    excludeAdvertisedNetworks: [10.0.0.1]\n")), []string{
			`a.yaml:15: filters.excludeAdvertisedNetworks: "10.0.0.1" is not a network prefix`,
		}},
		{"extra endpoint", "apiVersion: v1alpha1\nkind: KubeSpanEndpointsConfig\nextraAnnouncedEndpoints:\n    - 1.2.3.4\n", []string{
			`a.yaml:4: extraAnnouncedEndpoints: "1.2.3.4" is not an IP address and port`,
		}},
		{"legacy", docs(cluster, legacy("enabled: true, mtu: 1000, filters: {endpoints: [x], excludeAdvertisedNetworks: [y]}")), []string{
			"a.yaml:11: v1alpha1.Config: kubespan link MTU must be at least 1280",
			`a.yaml:11: v1alpha1.Config: KubeSpan endpoint filter is not valid: "x"`,
			`a.yaml:11: v1alpha1.Config: KubeSpan exclude advertised networks filter is not valid: "y"`,
		}},
		{"legacy and document", docs(cluster, legacy(""), kubeSpanDoc), []string{
			"a.yaml:13: kubespan is already configured in v1alpha1 machine.network.kubespan",
		}},
		{"legacy unknown key", legacy("enabled: true, foo: 1"), []string{
			"a.yaml:1: unknown keys found during decoding: machine.network.kubespan.foo (line 1)",
		}},
		{"legacy misspelt section", "machine:\n    network:\n        kubeSpan:\n            enabled: true\n", []string{
			`a.yaml:3: unknown keys found during decoding: machine.network.kubeSpan (line 3; did you mean "kubespan"?)`,
		}},
		{"no discovery", docs(identityDoc, kubeSpanDoc), []string{"a.yaml:6: KubeSpan requires cluster discovery to be enabled"}},
		{"no registry", "machine: {network: {kubespan: {enabled: true}}}\n" +
			"cluster: {id: a, discovery: {enabled: true, registries: {kubernetes: {disabled: true}, service: {disabled: true}}}}\n", []string{
			"a.yaml:1: KubeSpan requires cluster discovery to be enabled",
		}},
	})
}

// One source of nodes is enough, whichever it is.
func TestAnySourceIsEnough(t *testing.T) {
	for name, source := range map[string]string{
		"a service":    "apiVersion: v1alpha1\nkind: DiscoveryServiceConfig\nname: a\nendpoint: https://a.example/\n",
		"static peers": wirespan("peersFile: peers.yaml\n"),
	} {
		if _, err := load(docs(identityDoc, kubeSpanDoc, source), config.Options{}); err != nil {
			t.Errorf("%s alone: %v", name, err)
		}
	}
}

func TestDiscoveryErrors(t *testing.T) {
	service := func(keys string) string {
		return docs(identityDoc, "apiVersion: v1alpha1\nkind: DiscoveryServiceConfig\n"+keys)
	}
	id := func(keys string) string { return "apiVersion: v1alpha1\nkind: DiscoveryIdentityConfig\n" + keys }
	legacy := func(service string) string {
		return "cluster:\n  id: a\n  secret: " + testSecret + "\n  discovery:\n    enabled: true\n    registries: {service: {" + service + "}}\n"
	}
	const at, in = "a.yaml:9: ", "DiscoveryServiceConfig/a: "
	runErrors(t, []errorCase{
		{"name and endpoint", service("\n"), []string{
			"a.yaml:6: DiscoveryServiceConfig/: name is required", "a.yaml:6: DiscoveryServiceConfig/: endpoint is required",
		}},
		{"scheme", service("name: a\nendpoint: a.example\n"), []string{at + in + "endpoint scheme is required"}},
		{"other scheme", service("name: a\nendpoint: ftp://a.example\n"), []string{at + in + "endpoint scheme must be http://, https:// or grpc://"}},
		{"host", service("name: a\nendpoint: https:///x\n"), []string{at + in + "endpoint host is required"}},
		{"port", service("name: a\nendpoint: https://a:99999\n"), []string{at + in + `endpoint: "99999" is not a port number (0 to 65535)`}},
		{"URL without its password", service("name: a\nendpoint: \"https://u:p@a/%zz\"\n"), []string{at + in + `endpoint: invalid URL escape "%zz"`}},
		{"service and legacy", docs(serviceDoc, "cluster: {id: a, secret: "+testSecret+", discovery: {}}\n"), []string{
			"a.yaml:1: discovery service is already configured in .cluster.discovery of the v1alpha1 config",
		}},
		{"no identity", serviceDoc, []string{
			"a.yaml:1: cluster ID (.cluster.id or DiscoveryIdentityConfig) should be set when cluster discovery (DiscoveryServiceConfig) is enabled",
			"a.yaml:1: cluster secret (.cluster.secret or DiscoveryIdentityConfig) should be set when cluster discovery (DiscoveryServiceConfig) is enabled",
		}},
		{"id missing", id("clusterSecret: " + testSecret + "\n"), []string{"a.yaml:1: DiscoveryIdentityConfig: clusterID is required"}},
		{"secret missing", id("clusterID: a\n"), []string{"a.yaml:1: DiscoveryIdentityConfig: clusterSecret is required"}},
		{"secret garbled", id("clusterID: a\nclusterSecret: AQID*\n"), []string{
			"a.yaml:4: DiscoveryIdentityConfig: invalid clusterSecret: failed to decode from base64: (redacted); illegal base64 data at input byte 4",
		}},
		{"secret short", id("clusterID: a\nclusterSecret: AQIDBA==\n"), []string{
			"a.yaml:4: DiscoveryIdentityConfig: invalid clusterSecret: expected 32 bytes, got 4: (redacted)",
		}},
		{"secret zero", id("clusterID: x\nclusterSecret: " + strings.Repeat("A", 43) + "=\n"), []string{
			"a.yaml:4: DiscoveryIdentityConfig: invalid clusterSecret: all bytes are zero",
		}},
		{"id long", id("clusterID: " + strings.Repeat("a", 257) + "\nclusterSecret: " + testSecret + "\n"), []string{
			"a.yaml:3: DiscoveryIdentityConfig: clusterID is too long: 257 bytes, at most 256",
		}},
		{"identity and legacy", docs(identityDoc, "cluster: {id: a}\n"), []string{
			"a.yaml:1: cluster identity is already configured in .cluster.id/.cluster.secret of the v1alpha1 config",
		}},
		{"legacy scheme", legacy("endpoint: 'a.example:3000'"), []string{
			"a.yaml:6: v1alpha1.Config: cluster discovery service registry endpoint is invalid: endpoint scheme must be http://, https:// or grpc://",
		}},
		{"legacy URL", legacy("endpoint: 'https://a:b'"), []string{
			`a.yaml:6: v1alpha1.Config: cluster discovery service registry endpoint is invalid: endpoint: invalid port ":b" after host`,
		}},
		{"legacy path", legacy("endpoint: 'https://a/b'"), []string{
			"a.yaml:6: v1alpha1.Config: cluster discovery service path should be empty",
		}},
		{"legacy without identity", "cluster:\n  discovery:\n    enabled: true\n", []string{
			"a.yaml:2: v1alpha1.Config: cluster discovery service requires .cluster.id",
			"a.yaml:2: v1alpha1.Config: cluster discovery service requires .cluster.secret",
			"a.yaml:2: cluster ID (.cluster.id or DiscoveryIdentityConfig) should be set when cluster discovery (DiscoveryServiceConfig) is enabled",
			"a.yaml:2: cluster secret (.cluster.secret or DiscoveryIdentityConfig) should be set when cluster discovery (DiscoveryServiceConfig) is enabled",
		}},
		{"legacy secret", "cluster: {id: a, secret: AQIDBA==}\n", []string{
			"a.yaml:1: v1alpha1.Config: invalid clusterSecret: expected 32 bytes, got 4: (redacted)",
		}},
		{"legacy unknown keys", "cluster:\n  discovery:\n    registries:\n      service: {url: x}\n      etcd: {}\n", []string{
			"a.yaml:4: unknown keys found during decoding: cluster.discovery.registries.service.url (line 4)",
			"a.yaml:5: unknown keys found during decoding: cluster.discovery.registries.etcd (line 5)",
		}},
	})
}

func TestInputTooLarge(t *testing.T) {
	half := config.File{Name: "a.yaml", Data: []byte("#" + strings.Repeat(" ", 2<<20))}
	_, err := config.Load([]config.File{half, half}, config.Options{})
	wantProblems(t, err, "the configuration is larger than 4 MiB")
}

func TestProblemsAreBounded(t *testing.T) {
	yaml := kube("filters:\n  endpoints: [&a " + strings.Repeat("x", 100_000) + strings.Repeat(", *a", 1000) + "]\n")
	_, err := load(yaml, config.Options{ClusterProvided: true})
	if err == nil || !strings.HasPrefix(err.Error(), "1001 problems:\n") || !strings.HasSuffix(err.Error(), "\n  and 969 more") {
		t.Fatalf("unexpected error: %.300v", err)
	}
	if n := len(err.Error()); n > 10_000 {
		t.Errorf("the error has %d bytes", n)
	}
}

func TestAliasesAreNotExpanded(t *testing.T) {
	laughs := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'z'; c++ {
		item := "*" + string(c-1)
		laughs += string(c) + ": &" + string(c) + " [" + strings.Repeat(item+", ", 8) + item + "]\n"
	}
	mustLoad(t, "machine: {}\n"+laughs, config.Options{})
	_, err := load(laughs+kubeSpanDoc+"filters: {endpoints: *z}\n", config.Options{})
	if err == nil || !strings.Contains(err.Error(), "filters.endpoints: expected a list of strings") {
		t.Errorf("unexpected error: %.300v", err)
	}
	_, err = load("machine: &m {<<: *m, network: *m}\ncluster: &c {discovery: *c}\n", config.Options{})
	wantProblems(t, err, "a.yaml:2: unknown keys found during decoding: cluster.discovery.discovery (line 2)")
}
