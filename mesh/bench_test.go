package mesh

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// largeInput is a mesh of n peers with ten prefixes each, all up; overlapping
// gives every peer a network that its neighbours announce too.
func largeInput(n int, overlapping bool) Input {
	in := testInput()
	in.Config.ForceRouting, in.Config.HarvestExtraEndpoints = true, true
	for i := range n {
		hi, lo := byte(i>>8), byte(i)
		name := fmt.Sprintf("node-%04d", i)
		a := testKey(name)
		p := Affiliate{NodeID: NodeIDFromBytes(a), Nodename: name, Hostname: name, PublicKey: a, MachineType: MachineWorker}
		p.Address = netip.AddrFrom16([16]byte{0: 0xfd, 7: 2, 8: 1, 14: hi, 15: lo})
		p.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, hi, lo, 1}), netip.AddrFrom4([4]byte{100, 64 + hi, lo, 1}), p.Address}
		for j := range 6 {
			p.AdditionalAddresses = append(p.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(16+16*j) + hi, lo, 0}), 24))
		}
		p.AdditionalAddresses = append(p.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 1, 0xd, 0xb8, hi, lo}), 64))
		if overlapping {
			p.AdditionalAddresses[0] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 16 + hi, lo, 0}), 20).Masked()
		}
		for j := range 4 {
			p.Endpoints = append(p.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18 + byte(j&1), hi, lo}), uint16(51820+j)))
		}
		in.Affiliates = append(in.Affiliates, p)
		in.Stats = append(in.Stats, PeerStats{PublicKey: a, Endpoint: p.Endpoints[0], LastHandshakeTime: ago(time.Minute)})
		in.Previous = append(in.Previous, PeerStatus{
			PublicKey: a, Label: name, State: PeerStateUp, Endpoint: p.Endpoints[0], LastUsedEndpoint: p.Endpoints[0], LastEndpointChange: ago(time.Hour),
		})
	}
	return in
}

func BenchmarkDecide1000(b *testing.B) {
	for _, overlapping := range []bool{false, true} {
		b.Run(fmt.Sprintf("overlapping=%v", overlapping), func(b *testing.B) {
			in := largeInput(1000, overlapping)
			plan := Decide(in, testNow)
			if len(plan.Peers) != 1000 || (len(plan.Conditions) > 0) != overlapping {
				b.Fatalf("%d peers, %d conditions", len(plan.Peers), len(plan.Conditions))
			}
			b.ReportAllocs()
			for b.Loop() {
				Decide(in, testNow)
			}
		})
	}
}

// The worst case of 1,000 peers: each announces the default routes and as many
// networks as the limits allow.
func BenchmarkDecideHostile1000(b *testing.B) {
	in := largeInput(1000, false)
	for i := range in.Affiliates {
		a := &in.Affiliates[i]
		a.AdditionalAddresses = prefixes("0.0.0.0/1 ::/0")
		for j := range maxPeerAddresses - 2 {
			a.AdditionalAddresses = append(a.AdditionalAddresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(128 + j&63), byte(i >> 4), byte(i), byte(j)}), 25+j%8).Masked())
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		Decide(in, testNow)
	}
}
