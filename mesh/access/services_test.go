//go:build !edge

package access

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wirespan/wirespan/mesh/config"
)

// opened is a plane that tells which sockets were opened.
type opened struct {
	sockets
	udp chan net.PacketConn
}

func (o opened) ListenUDP(netip.AddrPort) (net.PacketConn, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err == nil {
		o.udp <- c
	}
	return c, err
}

// Forwards of UDP have the limit of associations, and metrics tell what it refused.
func TestForwardLimit(t *testing.T) {
	target, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	f, err := config.ParseForward("7:127.0.0.1:"+strconv.Itoa(target.LocalAddr().(*net.UDPAddr).Port)+"/udp", config.ForwardMesh)
	if err != nil {
		t.Fatal(err)
	}
	plane := opened{udp: make(chan net.PacketConn, 1)}
	s, err := New(Config{Directory: newKnowledge(), Plane: plane, Log: hclog.NewNullLogger()}, &config.Wirespan{
		MeshForwards: []config.Forward{f}, Limits: config.Limits{Connections: 10, UDPAssociations: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s.Attach(own)
	port := (<-plane.udp).LocalAddr().String()
	send := func() net.Conn {
		t.Helper()
		c, err := net.Dial("udp", port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := send()
	read(t, target)
	send() // is beyond the limit
	if _, err := first.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	read(t, target)
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Metrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			got[family.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"wirespan_forward_connections": 1, "wirespan_forward_accepted_total": 1, "wirespan_forward_refused_total": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

// read reads a datagram.
func read(t *testing.T, c net.PacketConn) {
	t.Helper()
	if _, _, err := c.ReadFrom(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
}
