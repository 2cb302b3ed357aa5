package mesh_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

func ExampleDecide() {
	priv := mesh.NewPrivateKey([32]byte{8})
	subnet := mesh.ULA("a cluster id")
	peer := mesh.Affiliate{
		NodeID: "n1", Nodename: "nas",
		PublicKey: mesh.NewPrivateKey([32]byte{16}).Public(),
		Address:   subnet.Addr().Next(),
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.5")},
		Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.168.1.5:51820")},
	}
	in := mesh.Input{
		Config:     mesh.Config{Enabled: true, Cycle: true, ForceRouting: true},
		Self:       mesh.Identity{NodeID: "n0", Address: subnet.Addr().Next().Next(), Subnet: subnet, PrivateKey: priv, PublicKey: priv.Public()},
		Host:       mesh.Host{ListenPort: mesh.DefaultListenPort},
		Affiliates: []mesh.Affiliate{peer},
	}
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

	plan := mesh.Decide(in, now)
	fmt.Println("tell the device:", plan.Peers[0].AllowedIPs, "at", plan.Peers[0].Endpoint)
	fmt.Println("tell the firewall:", plan.Routed)
	fmt.Println("the peer is", plan.Statuses[0].State, "until", plan.Wake.Sub(now), "from now")

	in.Previous = plan.Statuses
	in.Stats = []mesh.PeerStats{{PublicKey: peer.PublicKey, Endpoint: peer.Endpoints[0], LastHandshakeTime: now.Add(time.Second)}}
	fmt.Println("after a handshake it is", mesh.Decide(in, now.Add(2*time.Second)).Statuses[0].State)
	// Output:
	// tell the device: [192.168.1.5/32 fd85:a494:81b8:4902::1/128] at 192.168.1.5:51820
	// tell the firewall: [192.168.1.5/32]
	// the peer is unknown until 15s from now
	// after a handshake it is up
}

func ExampleNodeAddress() {
	subnet := mesh.ULA("8XuV9TZHW08DOk3bVxQjH9ih_TBKjnh-j44tsCLSBzo=")
	addr, err := mesh.NodeAddress(subnet, []byte{0x2e, 0x1a, 0xb6, 0x53, 0x81, 0x69})
	fmt.Println(subnet, addr, err)
	// Output: fd7f:175a:b97c:5602::/64 fd7f:175a:b97c:5602:2c1a:b6ff:fe53:8169 <nil>
}

func ExampleDecodeNodeID() {
	id, err := mesh.DecodeNodeID("sou7yy34ykX3n373Zw1DXKb8zD7UnyKT6HT3QDsGH6L")
	fmt.Printf("%x %v\n", id[:16], err) // the machine id in Talos
	// Output: be871ac0d0dd31fa4caca753b0f3f1b2 <nil>
}

func ExampleFilterAddrs() {
	var filters []mesh.Filter
	for _, s := range []string{"::/0", "0.0.0.0/0", "!192.168.0.0/16"} {
		f, err := mesh.ParseFilter(s)
		if err != nil {
			panic(err)
		}
		filters = append(filters, f)
	}
	addrs := []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")}
	fmt.Println(mesh.FilterAddrs(addrs, filters))
	// Output: [2001:db8::7 198.51.100.7]
}

func ExampleParseNodeIdentity() {
	id := mesh.NodeIDFromBytes([32]byte{31: 1})
	file := mesh.EncodeNodeIdentity(id)
	fmt.Printf("%s", file)
	back, err := mesh.ParseNodeIdentity(file)
	fmt.Println(back == id, err)
	// Output:
	// nodeId: BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
	// true <nil>
}
