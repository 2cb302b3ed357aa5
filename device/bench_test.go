package device_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

// thousand returns the peers of a large mesh.
func thousand() []mesh.PeerConfig {
	peers := make([]mesh.PeerConfig, 1000)
	for i := range peers {
		peers[i] = mesh.PeerConfig{
			PublicKey: newKey().Public(), PresharedKey: oneSecret, PersistentKeepalive: mesh.PersistentKeepalive,
			AllowedIPs: []netip.Prefix{host(ula(i + 100)), netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))},
		}
	}
	return peers
}

func BenchmarkStats1000(b *testing.B) {
	n := newNode(b, 1)
	n.apply(b, thousand()...)
	b.ReportAllocs()
	for b.Loop() {
		if s, err := n.Stats(); err != nil || len(s) != 1000 {
			b.Fatal(len(s), err)
		}
	}
}

func BenchmarkApply1000Unchanged(b *testing.B) {
	n := newNode(b, 1)
	peers := thousand()
	n.apply(b, peers...)
	b.ReportAllocs()
	for b.Loop() {
		n.apply(b, peers...)
	}
}

func BenchmarkApply1000OneChanged(b *testing.B) {
	n := newNode(b, 1)
	peers := thousand()
	n.apply(b, peers...)
	moved := host(ula(7))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := &peers[i%2]
		q := &peers[1-i%2]
		p.AllowedIPs, q.AllowedIPs = append(p.AllowedIPs[:2:2], moved), q.AllowedIPs[:2]
		n.apply(b, peers...)
	}
}

func BenchmarkListenPort(b *testing.B) {
	n := newNode(b, 1)
	n.apply(b, thousand()...)
	b.ReportAllocs()
	for b.Loop() {
		_ = n.ListenPort()
	}
}
