package config

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// NewCluster returns the documents of a new cluster that meets at a discovery
// service. ID and secret must be random.
func NewCluster(endpoint string, id [32]byte, secret mesh.Secret) ([]byte, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "grpc"}, u.Scheme) {
		return nil, fmt.Errorf("%q: not a URL such as https://discovery.example.org/", endpoint)
	}
	docs := EncodeCluster(base64.StdEncoding.EncodeToString(id[:]), secret,
		[]Service{{Name: "default", Endpoint: u.Host, Insecure: u.Scheme == "http"}})
	_, err = Load([]File{{Name: endpoint, Data: docs}}, Options{})
	return docs, err
}

// EncodeCluster returns the documents with which another host, or Talos, joins a
// cluster: its identity, its discovery services, and KubeSpan enabled. The result
// holds the secret in clear.
func EncodeCluster(clusterID string, secret mesh.Secret, services []Service) []byte {
	var b strings.Builder
	add := func(kind string, pairs ...string) {
		if b.Len() > 0 {
			b.WriteString("---\n")
		}
		b.WriteString("apiVersion: " + apiVersion + "\nkind: " + kind + "\n")
		for i := 0; i < len(pairs); i += 2 {
			b.WriteString(pairs[i] + ": " + quoteYAML(pairs[i+1]) + "\n")
		}
	}
	add(kindDiscoveryIdentity, "clusterID", clusterID, "clusterSecret", secret.RevealBase64())
	for _, s := range services {
		scheme := "https"
		if s.Insecure {
			scheme = "http"
		}
		add(kindDiscoveryService, "name", s.Name, "endpoint", scheme+"://"+s.Endpoint+"/")
	}
	add(kindKubeSpan)
	b.WriteString("enabled: true\n")
	return []byte(b.String())
}

// Template returns a WirespanConfig with every setting, its help and its default.
// Settings without a default and an example of ingress rules are commented out.
func Template() []byte {
	var b strings.Builder
	b.WriteString("# Settings of this agent, all optional. Each except ingress is also a flag and an\n" +
		"# environment variable. A flag overrides the environment, and both override files.\n" +
		"apiVersion: " + apiVersion + "\nkind: " + kindWirespan + "\n")
	section, indent := "", ""
	for s := range Settings() {
		inside, key := s.split()
		b.WriteString("\n")
		if inside != section {
			section, indent = inside, "    "
			b.WriteString(section + ":\n")
		}
		b.WriteString(indent + "# " + s.Help + "\n")
		if s.Values != nil {
			b.WriteString(indent + "# One of " + strings.Join(s.Values, ", ") + ".\n")
		}
		fmt.Fprintf(&b, "%s# --%s, %s\n", indent, s.Flag(), s.Env())
		b.WriteString(indent + templateLine(s, key) + "\n")
	}
	b.WriteString(ingressTemplate)
	return []byte(b.String())
}

const ingressTemplate = `
# Connections that may come from the mesh, to this node and to advertised networks.
# With defaultAction block a rule opens its ports to its sources, and nothing else
# comes in; with accept a rule closes its ports to all but its sources.
# ingress:
#     defaultAction: block
#     rules:
#         - name: ssh
#           portSelector:
#               ports: [22, 8000-8100]
#               protocol: tcp
#           ingress:
#               - subnet: 10.0.0.0/8
#                 except: 10.1.0.0/16
#           peers: [node-2]
`

func templateLine(s *Setting, key string) string {
	comment, value := "", s.Default
	if value == "" {
		comment, value = "# ", s.Example
	}
	switch s.Kind {
	case KindList, KindWords:
		quoted := s.Kind.Split(value)
		for i, item := range quoted {
			quoted[i] = `"` + item + `"`
		}
		value = "[" + strings.Join(quoted, ", ") + "]"
	case KindString:
		if strings.ContainsAny(value, ":") {
			value = `"` + value + `"`
		}
	}
	return comment + key + ": " + value
}
