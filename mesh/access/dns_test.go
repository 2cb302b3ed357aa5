//go:build !edge

package access

import (
	"net/netip"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
)

// Behind an exit node the Internet is reached through the mesh, but may not ask a server at an
// address of the host.
func TestWhoMayAsk(t *testing.T) {
	k := newKnowledge()
	k.reach[remote] = agent.ReachMesh // by an exit node
	s, err := New(Config{Directory: k, Plane: sockets{}, Log: hclog.NewNullLogger()}, &config.Wirespan{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		source     netip.Addr
		mesh, host bool
	}{
		{netip.MustParseAddr("127.0.0.1"), true, true},
		{own, true, true},
		{node2, true, false},
		{remote, true, false},
		{netip.MustParseAddr("198.51.100.1"), false, false},
		{gone, false, false},
	} {
		if m, h := s.fromMesh(tt.source), s.fromHost(tt.source); m != tt.mesh || h != tt.host {
			t.Errorf("%v: at the mesh address %v, want %v; at the host's %v, want %v", tt.source, m, tt.mesh, h, tt.host)
		}
	}
}
