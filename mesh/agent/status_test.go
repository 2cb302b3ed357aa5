package agent

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Peers are sorted by name and say why they are not up.
func TestPeerViews(t *testing.T) {
	endpoint := netip.MustParseAddrPort("192.0.2.1:51820")
	spec := func(n byte, endpoints ...netip.AddrPort) mesh.PeerSpec {
		return mesh.PeerSpec{PublicKey: mesh.Key{n}, Endpoints: endpoints}
	}
	plan := &mesh.Plan{
		Specs: []mesh.PeerSpec{spec(1, endpoint), spec(2), spec(3, endpoint), spec(4, endpoint, endpoint)},
		Statuses: []mesh.PeerStatus{
			{PublicKey: mesh.Key{1}, Label: "d", State: mesh.PeerStateUp, LastHandshakeTime: time.Unix(1, 0)},
			{PublicKey: mesh.Key{2}, Label: "c"},
			{PublicKey: mesh.Key{3}, Label: "b", State: mesh.PeerStateDown},
			{PublicKey: mesh.Key{4}, Label: "a", State: mesh.PeerStateDown, LastHandshakeTime: time.Unix(1, 0)},
		},
	}
	var got []string
	for _, p := range new(Agent).peerViews(plan, mesh.NewNames("", mesh.Identity{}, &mesh.Plan{})) {
		got = append(got, p.Label+": "+p.Reason)
	}
	want := []string{
		"a: no answer any more from any of its 2 endpoints",
		"b: no answer yet from its endpoint",
		"c: it announces no endpoint: it has to connect to this node",
		"d: ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
}

// Times that are not known are left out.
func TestZeroTimes(t *testing.T) {
	for _, v := range []any{Status{Discovery: []DiscoveryStatus{{}}, Peers: []PeerView{{}}}, PeerStatusSpec{}} {
		data, err := json.Marshal(v)
		if err != nil || strings.Contains(string(data), "0001-01-01") {
			t.Errorf("%s, %v", data, err)
		}
	}
}
