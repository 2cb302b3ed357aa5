package nodetest_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// The IPv4 path is dead in both directions. IPv4 endpoints come first, so KubeSpan's
// rule has to reach those of IPv6.
func TestDeadIPv4Path(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		m.Drop(func(d nodetest.Datagram) bool { return d.Destination.Addr().Is4() })
		a := m.Start(m.Internet().Host("192.0.2.1", "2001:db8::1"))
		b := m.Start(m.Internet().Host("192.0.2.2", "2001:db8::2"))
		m.Await(10*time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
		if _, endpoint := peer(t, a, b); endpoint != "[2001:db8::2]:51820" {
			t.Errorf("up at %s", endpoint)
		}
		if !a.Reaches(b) || !b.Reaches(a) {
			t.Error("no way by IPv6")
		}
	})
}

// cycle has a node try endpoints one after another, as KubeSpan does.
const cycle = "apiVersion: v1alpha1\nkind: WirespanConfig\nendpointStrategy: cycle\n"

const deadEndpoint = "203.0.113.99:51820"

// A peer announces an endpoint that is dead before the one that lives, and can't
// come first itself. KubeSpan's rule gives the first endpoint 15 s, then the next one
// its turn.
func TestEndpointCycling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a := m.Start(m.Internet().Behind(nodetest.Firewall).Host("192.0.2.1"), nodetest.KubeSpan, cycle)
		tried := m.Capture(func(d nodetest.Datagram) bool {
			return d.Message() == nodetest.Initiation && d.Source.Addr() == netip.MustParseAddr("192.0.2.1")
		})
		b := m.Start(m.Internet().Host("192.0.2.2"), nodetest.KubeSpan,
			"apiVersion: v1alpha1\nkind: KubeSpanEndpointsConfig\nextraAnnouncedEndpoints: ["+deadEndpoint+"]\n")
		m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
		if _, endpoint := peer(t, a, b); endpoint != "192.0.2.2:51820" {
			t.Errorf("up at %s", endpoint)
		}

		datagrams := tried.Datagrams()
		if first := datagrams[0].Destination; first != netip.MustParseAddrPort(deadEndpoint) {
			t.Fatalf("tried %v first", first)
		}
		for _, d := range datagrams {
			after := d.Sent.Sub(datagrams[0].Sent)
			if dead := d.Destination == datagrams[0].Destination; dead != (after < mesh.EndpointTimeout) {
				t.Errorf("initiation to %v after %v", d.Destination, after)
			}
		}
	})
}
