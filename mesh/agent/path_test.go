package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

// The condition names peer, path and what fits, and says what to do.
func TestNarrowPathsAreConditions(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("[2001:db8::1]:51820")
	for _, tt := range []struct {
		endpoint netip.AddrPort
		mtu      int
		want     []string
	}{
		{v4, 0, nil},
		{v4, 1420, nil},
		{v4, 1408, []string{"peer-1", v4.String(), "1408", "1420", "set kubespan.mtu to 1408"}},
		{v4, 1216, []string{v4.String(), "1216", "can't be below 1280", "packets of 1340 bytes"}},
		{v6, 1200, []string{v6.String(), "1200", "packets of 1360 bytes"}},
	} {
		got := narrowPaths(&mesh.Plan{Statuses: []mesh.PeerStatus{
			{Label: "peer-0", Endpoint: v4}, {Label: "peer-1", Endpoint: tt.endpoint, Path: &mesh.PeerPath{MTU: tt.mtu}},
		}}, 1420)
		if len(got) != min(len(tt.want), 1) {
			t.Errorf("%v, %d: %+v", tt.endpoint, tt.mtu, got)
			continue
		}
		for _, text := range tt.want {
			if got[0].Type != mesh.ConditionPathMTU || got[0].Subject != "peer-1" || !strings.Contains(got[0].Message, text) {
				t.Errorf("%v, %d: %+v lacks %q", tt.endpoint, tt.mtu, got[0], text)
			}
		}
	}
}
