package access

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

var (
	own    = netip.MustParseAddr("fd00::1")
	node2  = netip.MustParseAddr("fd00::2")
	gone   = netip.MustParseAddr("fd00::9")
	remote = netip.MustParseAddr("203.0.113.7")
	routed = netip.MustParseAddr("192.0.2.8") // to this host
	behind = netip.MustParseAddr("192.0.2.9") // a peer
)

// knowledge is a directory of a mesh with the peer node-2.
type knowledge struct{ reach map[netip.Addr]agent.Reach }

func newKnowledge() knowledge {
	return knowledge{map[netip.Addr]agent.Reach{own: agent.ReachOwn, node2: agent.ReachMesh, behind: agent.ReachMesh, gone: agent.ReachRefused}}
}

func (knowledge) Names() *mesh.Names {
	return mesh.NewNames("mesh", mesh.Identity{NodeID: "n1", Address: own}, &mesh.Plan{
		Specs: []mesh.PeerSpec{{NodeID: "n2", Name: "node-2", Address: node2}},
		Pins:  []mesh.Pin{{NodeID: "n2", Nodename: "node-2"}},
	})
}

func (k knowledge) Reach(a netip.Addr) agent.Reach {
	if r, known := k.reach[a]; known {
		return r
	}
	return agent.ReachOutside
}

func (knowledge) Peer(a netip.Addr) (netip.Addr, []string) {
	if a == node2 {
		return node2, []string{"node-2"}
	}
	return netip.Addr{}, nil
}

// dialled is an error that tells who dialled what.
type dialled struct{ by, address string }

func (d dialled) Error() string { return d.by + " " + d.address }

// sockets is a plane that dials nothing and listens on the loopback interface.
type sockets struct{}

func (sockets) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	return nil, dialled{"mesh", address}
}

func (sockets) ListenUDP(at netip.AddrPort) (net.PacketConn, error) {
	return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(at.Port())})
}

func (sockets) ListenTCP(netip.AddrPort) (net.Listener, error) {
	return net.Listen("tcp", "[::1]:0")
}

func outside(answers map[string]string) *Outside {
	return &Outside{
		Resolve: func(_ context.Context, name string) (out []netip.Addr, err error) {
			text, known := answers[name]
			if !known {
				return nil, errors.New("unknown")
			}
			for a := range strings.FieldsSeq(text) {
				out = append(out, netip.MustParseAddr(a))
			}
			return out, nil
		},
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) { return nil, dialled{"host", address} },
		Local:       func(a netip.Addr) bool { return a == routed },
	}
}

func TestDialContext(t *testing.T) {
	direct := outside(map[string]string{
		"example.org": "203.0.113.7", "rebound.example": "127.0.0.1", "metadata.example": "169.254.169.254",
		"mixed.example": "127.0.0.1 203.0.113.7", "inside.example": "fd00::2", "own.example": "fd00::1", "empty.example": "",
		"localhost": "127.0.0.1",
	})
	type outcome struct {
		dialled []string // by whom and what
		err     error
	}
	refused := func(err error) outcome { return outcome{nil, err} }
	for _, tt := range []struct {
		network, address string
		inMesh, direct   outcome // without and with egress
	}{
		{"tcp", "node-2:80", outcome{dialled: []string{"mesh [fd00::2]:80"}}, outcome{dialled: []string{"mesh [fd00::2]:80"}}},
		{"tcp", "Node-2.Mesh.:80", outcome{dialled: []string{"mesh [fd00::2]:80"}}, outcome{dialled: []string{"mesh [fd00::2]:80"}}},
		{"tcp", "[fd00::2]:443", outcome{dialled: []string{"mesh [fd00::2]:443"}}, outcome{dialled: []string{"mesh [fd00::2]:443"}}},
		{"tcp4", "node-2:80", refused(errNoSuchHost), refused(errNoSuchHost)},
		{"tcp", "nobody.mesh:80", refused(errNoSuchHost), refused(errNoSuchHost)},
		{"tcp", "nobody:80", refused(errNoSuchHost), refused(errNoSuchHost)},
		{"tcp", "[fd00::9]:80", refused(errUnreachable), refused(errUnreachable)},
		{"tcp", "[fd00::1]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "example.org:80", refused(errNoSuchHost), outcome{dialled: []string{"host 203.0.113.7:80"}}},
		{"tcp", "203.0.113.7:80", refused(errNotAllowed), outcome{dialled: []string{"host 203.0.113.7:80"}}},
		{"tcp", "mixed.example:80", refused(errNoSuchHost), outcome{dialled: []string{"host 203.0.113.7:80"}}},
		{"tcp", "inside.example:80", refused(errNoSuchHost), outcome{dialled: []string{"mesh [fd00::2]:80"}}},
		{"tcp", "own.example:80", refused(errNoSuchHost), refused(errNotAllowed)},
		{"tcp", "empty.example:80", refused(errNoSuchHost), refused(errNoSuchHost)},
		{"tcp", "rebound.example:80", refused(errNoSuchHost), refused(errNotAllowed)},
		{"tcp", "localhost:80", refused(errNoSuchHost), refused(errNotAllowed)},
		{"tcp", "metadata.example:80", refused(errNoSuchHost), refused(errNotAllowed)},
		{"tcp", "127.0.0.1:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "0.0.0.0:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[::]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[::ffff:127.0.0.1]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[64:ff9b::7f00:1]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[64:ff9b::a9fe:a9fe]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[64:ff9b::c000:209]:80", refused(errNotAllowed), refused(errNotAllowed)}, // of the mesh
		{"tcp", "[64:ff9b::c000:208]:80", refused(errNotAllowed), refused(errNotAllowed)}, // of this host
		{"tcp", "[64:ff9b::cb00:7107]:80", refused(errNotAllowed), outcome{dialled: []string{"host [64:ff9b::cb00:7107]:80"}}},
		{"tcp", "[64:ff9b:1::7f00:1]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[2002:7f00:1::1]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[::127.0.0.1]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[::ffff:0:169.254.169.254]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "192.0.2.8:80", refused(errNotAllowed), refused(errNotAllowed)}, // of this host
		{"tcp", "169.254.169.254:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[fd00:ec2::254]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "[fe80::1%eth0]:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "224.0.0.1:80", refused(errNotAllowed), refused(errNotAllowed)},
		{"tcp", "255.255.255.255:80", refused(errNotAllowed), refused(errNotAllowed)},
	} {
		for _, way := range []struct {
			name    string
			outside *Outside
			want    outcome
		}{{"mesh", nil, tt.inMesh}, {"direct", direct, tt.direct}} {
			n := NewNetwork(newKnowledge(), sockets{}, way.outside)
			_, err := n.DialContext(t.Context(), tt.network, tt.address)
			var d dialled
			var got []string
			if errors.As(err, &d) {
				got = []string{d.Error()}
			}
			if !slices.Equal(got, way.want.dialled) || way.want.err != nil && !errors.Is(err, way.want.err) {
				t.Errorf("%s, %s %s: %v (dialled %q), want %v", way.name, tt.network, tt.address, err, got, way.want)
			}
		}
	}
	for _, network := range []string{"", "unix", "tcp5", "ip"} {
		if _, err := NewNetwork(newKnowledge(), sockets{}, direct).DialContext(t.Context(), network, "node-2:80"); err == nil || errors.As(err, new(dialled)) {
			t.Errorf("network %q: %v", network, err)
		}
	}
	for _, address := range []string{"node-2", "node-2:0", "node-2:65536", "node-2:http", ""} {
		if _, err := NewNetwork(newKnowledge(), sockets{}, direct).DialContext(t.Context(), "tcp", address); err == nil || errors.As(err, new(dialled)) {
			t.Errorf("%q: %v", address, err)
		}
	}
}
