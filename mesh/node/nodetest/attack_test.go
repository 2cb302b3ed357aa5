package nodetest_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/node/nodetest"
)

// Somebody replaces a member's entry again and again, with all that can be made without
// the member's key. No ping is lost, and a node that is new finds the member all the same.
func TestForgedEntriesCutNobodyOff(t *testing.T) {
	for name, forge := range map[string]func(m *nodetest.Mesh, b *nodetest.Node, first []byte){
		"deleted": func(m *nodetest.Mesh, b *nodetest.Node, _ []byte) { m.Hub.Forge(b.Status().Node.ID, nil) },
		"garbage": func(m *nodetest.Mesh, b *nodetest.Node, _ []byte) {
			m.Hub.Forge(b.Status().Node.ID, []byte("no more than that"))
		},
		"an old record": func(m *nodetest.Mesh, b *nodetest.Node, first []byte) { m.Hub.Forge(b.Status().Node.ID, first) },
		"an old record with other endpoints": func(m *nodetest.Mesh, b *nodetest.Node, first []byte) {
			m.Hub.Forge(b.Status().Node.ID, first, m.SealEndpoint(netip.MustParseAddrPort("198.51.100.1:51820")))
		},
		"the same record with other endpoints": func(m *nodetest.Mesh, b *nodetest.Node, _ []byte) {
			m.Hub.Forge(b.Status().Node.ID, m.Hub.Entry(b.Status().Node.ID), m.SealEndpoint(netip.MustParseAddrPort("198.51.100.1:51820")))
		},
		"unsigned, with another key": func(m *nodetest.Mesh, b *nodetest.Node, _ []byte) {
			evil := mesh.NewPrivateKey([mesh.KeySize]byte{9}).Public()
			m.Hub.Forge(b.Status().Node.ID, m.Seal(mesh.Affiliate{
				NodeID: b.Status().Node.ID, MachineType: mesh.MachineWorker, PublicKey: evil, Address: b.Address(),
			}, mesh.NodeKey{}))
		},
		"its key at another node": func(m *nodetest.Mesh, b *nodetest.Node, _ []byte) {
			i := m.Invent(1)
			i.PublicKey, i.Address = b.Status().Node.PublicKey, b.Address()
			i.Publish()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := nodetest.New(t)
				a, b := m.Boot(m.Box(), m.Internet().Host("192.0.2.1")), m.Boot(m.Box(), m.Internet().Host("192.0.2.2"))
				m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) })
				first := m.Hub.Entry(b.Status().Node.ID)
				b.Move("192.0.2.3") // a newer record
				m.Await(time.Minute, "both up", func() bool { return nodetest.AllUp(a, b) && a.Reaches(b) })
				lost := pinging(t, a, b)
				for range 10 {
					forge(m, b, first)
					time.Sleep(time.Minute)
					if _, known := a.Peer(b); !known {
						t.Fatal("b is no peer of a")
					}
				}
				if sent, n := lost(); n != 0 || sent < 150 {
					t.Errorf("%d of %d pings were lost", n, sent)
				}
			})
		})
	}
}

// Made-up members with valid signatures take the names and addresses of real ones, and
// change all the time. The real ones lose no ping, and keep their names.
func TestSignedSybilsDisturbNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := nodetest.New(t)
		a, b := pair(t, m)
		lost := pinging(t, a, b)
		var sybils []*nodetest.Invented
		for i := range uint32(50) {
			s := m.Invent(i)
			s.Nodename, s.Address = b.Name, b.Address()
			sybils = append(sybils, s)
		}
		for round := range 20 {
			for i, s := range sybils {
				s.Hostname = fmt.Sprint(round)
				s.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", round, i)), netip.PrefixFrom(b.Address(), 128)}
				s.Publish()
			}
			time.Sleep(time.Second)
		}
		if sent, n := lost(); n != 0 || sent < 15 {
			t.Errorf("%d of %d pings were lost", n, sent)
		}
		if p, ok := a.Peer(b); !ok || p.Address != b.Address() || p.PublicKey != b.Status().Node.PublicKey {
			t.Errorf("%s is %+v", b.Name, p)
		}
	})
}

// Silent members move from port to port of one victim with each record. It gets as few
// handshakes as from those that stay.
func TestMovingSilentPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seconds, peers, burst = 20, 100, 32
		m := nodetest.New(t)
		var silent []*nodetest.Invented
		for i := range uint32(peers) {
			silent = append(silent, m.Invent(i, netip.MustParseAddrPort("203.0.113.1:1")))
		}
		n := m.Start(m.Internet().Host("192.0.2.1"))
		m.Await(time.Minute, "they are known", func() bool { return len(n.Status().Peers) == peers })
		time.Sleep(2 * time.Minute) // the first burst is over
		wire := m.Capture(func(d nodetest.Datagram) bool { return d.Destination.Addr() == netip.MustParseAddr("203.0.113.1") })
		for second := range seconds {
			for i, s := range silent {
				s.Endpoints = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), uint16(1000+second*peers+i))}
				s.Publish()
			}
			time.Sleep(time.Second)
		}
		if got := len(wire.Datagrams()); got == 0 || got > burst+5*(seconds+1) {
			t.Errorf("%d datagrams in %d s, want %d and 5 per second at most", got, seconds, burst)
		}
	})
}
