package agent

import (
	"reflect"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

func TestEffective(t *testing.T) {
	load := func(docs string) *config.Config {
		t.Helper()
		return must(config.Load([]config.File{{Name: "f", Data: []byte(docs)}}, config.Options{ClusterProvided: true}))
	}
	own := Service{Name: "embedded", Endpoints: []string{"127.0.0.1:1"}, Pin: [32]byte{9}}
	files := Service{Name: "one", Endpoints: []string{"discovery.example:443"}}
	token := config.Token{
		ClusterID: testClusterID, Secret: must(mesh.ParseSecret(testSecret)),
		Servers: []string{"192.0.2.1:51820", "[2001:db8::1]:51820"}, Pin: [32]byte{1, 2, 3},
	}
	joined := &state.Cluster{ID: "joined", Secret: token.Secret, Servers: token.Servers, Pin: token.Pin}
	for name, test := range map[string]struct {
		docs     string
		cluster  *state.Cluster
		id       string
		services []Service
	}{
		"files":          {identityDocuments, nil, testClusterID, []Service{files}},
		"files win":      {identityDocuments, joined, testClusterID, []Service{files}},
		"joined":         {"", joined, "joined", []Service{{Name: "joined", Endpoints: token.Servers, Pin: token.Pin}}},
		"founder":        {"", &state.Cluster{ID: "own", Secret: token.Secret, Founder: true}, "own", []Service{own}},
		"founder & file": {strings.SplitAfterN(identityDocuments, "---\n", 2)[1], &state.Cluster{ID: "own", Secret: token.Secret, Founder: true}, "own", []Service{files, own}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Effective(load(test.docs), test.cluster, own)
			if err != nil {
				t.Fatal(err)
			}
			if s.ClusterID != test.id || s.ClusterSecret.IsZero() || !reflect.DeepEqual(s.Discovery, test.services) {
				t.Errorf("cluster %q, discovery %+v; want %q, %+v", s.ClusterID, s.Discovery, test.id, test.services)
			}
		})
	}
	if _, err := Effective(load(""), nil, own); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("without any cluster: %v", err)
	}
}

func TestTunnelMTU(t *testing.T) {
	link := func(mtu int, change func(*mesh.Link)) mesh.Link {
		l := mesh.Link{Name: "l", Up: true, MTU: mtu}
		if change != nil {
			change(&l)
		}
		return l
	}
	routed := func(l *mesh.Link) { l.DefaultRoute = true }
	for name, test := range map[string]struct {
		links []mesh.Link
		want  int
	}{
		"none":               {nil, 1420},
		"ethernet":           {[]mesh.Link{link(1500, routed)}, 1420},
		"jumbo":              {[]mesh.Link{link(9000, routed)}, 1420},
		"cloud":              {[]mesh.Link{link(1460, routed)}, 1380},
		"tiny":               {[]mesh.Link{link(1300, routed)}, 1280},
		"smallest routed":    {[]mesh.Link{link(1500, routed), link(1450, routed), link(1400, nil)}, 1370},
		"no default route":   {[]mesh.Link{link(1500, nil), link(1440, nil)}, 1360},
		"down":               {[]mesh.Link{link(1400, func(l *mesh.Link) { l.Up = false })}, 1420},
		"loopback":           {[]mesh.Link{link(1400, func(l *mesh.Link) { l.Loopback = true })}, 1420},
		"own tunnel":         {[]mesh.Link{link(1280, func(l *mesh.Link) { l.Kind = "tun" }), link(1500, routed)}, 1420},
		"wireguard as route": {[]mesh.Link{link(1280, func(l *mesh.Link) { l.Kind, l.DefaultRoute = "wireguard", true })}, 1420},
	} {
		if got := tunnelMTU(test.links); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
