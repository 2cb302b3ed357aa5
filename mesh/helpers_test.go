package mesh

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"
)

// The mesh of every test is fd00:0:0:2::/64, and this node is ::1.
var (
	testNow    = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	testSubnet = netip.MustParsePrefix("fd00:0:0:2::/64")
)

func testKey(name string) Key { return sha256.Sum256([]byte(name)) }

func testSelf() Identity {
	return Identity{NodeID: "n0", Address: netip.MustParseAddr("fd00:0:0:2::1"), Subnet: testSubnet, PublicKey: testKey("self")}
}

// testInput has one physical link with a default route, 172.20.2.1/24.
func testInput() Input {
	return Input{
		Config: Config{Enabled: true, Cycle: true, AnnounceAsMember: true, ClusterSecret: NewSecret([32]byte{1})},
		Self:   testSelf(),
		Host: Host{
			Hostname: "self.example.com", Nodename: "self", OperatingSystem: "Debian (13)", ListenPort: 51820,
			Links: []Link{{Name: "eth0", Up: true, DefaultRoute: true, Addresses: prefixes("172.20.2.1/24")}},
		},
	}
}

// othersOf returns pins without this node's own.
func othersOf(pins []Pin) []Pin {
	return slices.DeleteFunc(slices.Clone(pins), func(p Pin) bool { return p.NodeID == "n0" })
}

// testPeer is an affiliate with node id, label and key name, at fd00:0:0:2::suffix.
func testPeer(name, suffix string) Affiliate {
	return Affiliate{
		NodeID:    name,
		Nodename:  name,
		PublicKey: testKey(name),
		Address:   netip.MustParseAddr("fd00:0:0:2::" + suffix),
	}
}
