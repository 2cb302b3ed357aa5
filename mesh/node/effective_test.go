package node

import (
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

const (
	testClusterID = "Zq3vT8kLr0pW5xYb1nCe7sGd4hJf6mAu9oQi2tRzBNU="
	testSecret    = "sH5wPz1kN9cVb3mQx7rTy0uJd2fGa4eLi6oKn8pRsMU="
)

const testDocuments = `
apiVersion: v1alpha1
kind: DiscoveryIdentityConfig
clusterID: ` + testClusterID + `
clusterSecret: ` + testSecret + `
---
apiVersion: v1alpha1
kind: DiscoveryServiceConfig
name: one
endpoint: https://discovery.example/
`

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEffective(t *testing.T) {
	load := func(docs string) *config.Config {
		t.Helper()
		return must(config.Load([]config.File{{Name: "f", Data: []byte(docs)}}, config.Options{ClusterProvided: true}))
	}
	own := service{Endpoints: []string{"127.0.0.1:1"}, Pin: [32]byte{9}}
	secret := testMembership().Secret
	files := agent.Source{Kind: discovery.KindService, Name: "one", Spec: service{Endpoints: []string{"discovery.example:443"}}, Secret: secret}
	called := func(id string, s service) service { s.Name = mesh.DiscoveryID(id, secret); return s }
	joined := &state.Cluster{ID: "joined", Secret: secret, Servers: testToken().Servers, Pin: testToken().Pin}
	founded := &state.Cluster{ID: "own", Secret: secret, Founder: true}
	changing := *joined
	changing.Next, changing.NextNumber = mesh.NewSecret([32]byte{5}), 1
	changed := changing
	changed.Close()
	next := called("joined", service{Endpoints: joined.Servers, Pin: joined.Pin})
	next.Name = mesh.DiscoveryID("joined", changing.Next)
	there := called("joined", service{Endpoints: joined.Servers, Pin: joined.Pin})
	for name, test := range map[string]struct {
		docs    string
		cluster *state.Cluster
		id      string
		sources []agent.Source
	}{
		"files":     {testDocuments, nil, testClusterID, []agent.Source{files}},
		"files win": {testDocuments, joined, testClusterID, []agent.Source{files}},
		"with static peers": {testDocuments + "---\napiVersion: v1alpha1\nkind: WirespanConfig\npeersFile: peers.yaml\n", nil, testClusterID, []agent.Source{
			{Kind: discovery.KindStatic, Name: "static", Spec: peersFile("peers.yaml")}, files,
		}},
		"joined": {"", joined, "joined", []agent.Source{{Kind: discovery.KindService, Name: "joined", Spec: there, Secret: secret}}},
		"changing": {"", &changing, "joined", []agent.Source{
			{Kind: discovery.KindService, Name: "joined", Spec: next, Secret: changing.Next}, {Kind: discovery.KindService, Name: "joined (former secret)", Spec: there, Secret: secret, Former: true},
		}},
		"changed": {"", &changed, "joined", []agent.Source{{Kind: discovery.KindService, Name: "joined", Spec: next, Secret: changing.Next}}},
		"founder": {"", founded, "own", []agent.Source{{Kind: discovery.KindService, Name: "embedded", Spec: called("own", own), Secret: secret}}},
		"founder & file": {strings.SplitAfterN(testDocuments, "---\n", 2)[1], founded, "own", []agent.Source{
			{Kind: discovery.KindService, Name: "one", Spec: called("own", files.Spec.(service)), Secret: secret}, {Kind: discovery.KindService, Name: "embedded", Spec: called("own", own), Secret: secret},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := effective(load(test.docs), test.cluster, own)
			if err != nil {
				t.Fatal(err)
			}
			if s.ClusterID != test.id || s.ClusterSecret.IsZero() || !reflect.DeepEqual(s.Sources, test.sources) {
				t.Errorf("cluster %q, discovery %+v; want %q, %+v", s.ClusterID, s.Sources, test.id, test.sources)
			}
		})
	}
	if _, err := effective(load(""), nil, own); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("without any cluster: %v", err)
	}
}

// A service that is named like another source would never be asked.
func TestSourcesHaveDifferentNames(t *testing.T) {
	for name, refused := range map[string]bool{"one": false, "static": true} {
		docs := strings.Replace(testDocuments, "name: one", "name: "+name, 1) + "---\napiVersion: v1alpha1\nkind: WirespanConfig\npeersFile: peers.yaml\n"
		c := testConfig(t, t.TempDir(), docs)
		n := &Node{config: c}
		if _, err := n.effective(c); (err != nil) != refused || refused && !strings.Contains(err.Error(), "DiscoveryServiceConfig/static: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
