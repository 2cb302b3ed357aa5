package node

import (
	"net"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// A founder's discovery server is to be mapped, and its STUN port if it has one of its own.
func TestPortsOfTheServer(t *testing.T) {
	for name, test := range map[string]struct {
		listen    string
		stun      bool
		advertise []string
		want      []string // networks
		refused   bool
	}{
		"alone":      {":0", false, nil, []string{"tcp"}, false},
		"with STUN":  {":0", true, nil, []string{"tcp", "udp"}, false},
		"configured": {":0", true, []string{"mesh.example"}, []string{"tcp", "udp"}, true},
		"loopback":   {"127.0.0.1:0", true, nil, nil, false},
	} {
		l, err := net.Listen("tcp", test.listen)
		if err != nil {
			t.Fatal(err)
		}
		e := &embeddedServer{listener: l}
		if test.stun {
			e.stun = &stunListener{}
		}
		c := &config.Config{}
		c.AdvertiseDiscovery = test.advertise
		got := e.ports(c)
		if len(got) != len(test.want) {
			t.Errorf("%s: %+v, want %v", name, got, test.want)
		}
		for i, p := range got[:min(len(got), len(test.want))] {
			if p.Network() != test.want[i] || p.Number != e.port() || (p.Refused != "") != test.refused {
				t.Errorf("%s: %+v, want %s", name, p, test.want[i])
			}
		}
		_ = l.Close()
	}
}

// The nonce is of the node: another node has another one, and a new WireGuard key changes nothing.
func TestNonce(t *testing.T) {
	a := state.Keys{NodeKey: mesh.NewNodeKey([32]byte{1}), PrivateKey: mesh.NewPrivateKey([32]byte{2})}
	rotated, other, unsigned := a, a, a
	rotated.PrivateKey = mesh.NewPrivateKey([32]byte{3})
	other.NodeKey = mesh.NewNodeKey([32]byte{4})
	unsigned.NodeKey = mesh.NodeKey{}
	if nonce(a) != nonce(rotated) || nonce(a) == nonce(other) || nonce(a) == nonce(unsigned) {
		t.Errorf("nonces %x, %x, %x, %x", nonce(a), nonce(rotated), nonce(other), nonce(unsigned))
	}
}
