package control

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

func TestFindPeer(t *testing.T) {
	peer := func(n byte, label string) agent.PeerView {
		addr := netip.AddrFrom16([16]byte{0xfd, 15: n})
		return agent.PeerView{
			PublicKey: mesh.Key{n}, Label: label, Address: addr,
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, n}), 16), netip.PrefixFrom(addr, 128)},
		}
	}
	s := &agent.Status{
		Node:  agent.NodeStatus{Nodename: "self", Address: netip.MustParseAddr("fd00::99")},
		Peers: []agent.PeerView{peer(1, "one"), peer(2, "two"), peer(3, "twin"), peer(4, "twin"), peer(5, "")},
	}
	s.Names = []string{"self.mesh", "S.id.mesh"}
	s.Node.ID = "S"
	for i := range s.Peers {
		s.Peers[i].NodeID = "Id" + string('1'+rune(i))
	}
	s.Peers[0].Names = []string{"one.mesh", "Id1.id.mesh"}
	s.Peers[4].Label, s.Peers[4].Names = "ONE", []string{"Id5.id.mesh"}
	for want, name := range map[string]string{
		"One.MESH.": "one", "id1.id.mesh": "one", "Id2": "two", "id5.id.mesh": "ONE", "ONE": "ONE", "one.mesh": "one",
		"one": "one", "10.2.3.4": "two", "fd00::3": "twin", mesh.Key{4}.String(): "twin", mesh.Key{5}.String(): "ONE",
	} {
		if p, err := FindPeer(s, want); err != nil || p.Label != name {
			t.Errorf("FindPeer(%q) = %+v, %v", want, p, err)
		}
	}
	for want, text := range map[string]string{
		"twin":      "2 peers have this name",
		"self":      "is this node itself, not a peer",
		"SELF.mesh": "is this node itself, not a peer",
		"s.id.mesh": "is this node itself, not a peer",
		"S":         "is this node itself, not a peer",
		"One":       "2 peers have this name",
		"id2":       "not in the mesh",
		"fd00::99":  "is this node itself, not a peer",
		"10.9.0.1":  "known are: one, two, twin, ONE",
	} {
		if p, err := FindPeer(s, want); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("FindPeer(%q) = %+v, %v; want %q", want, p, err, text)
		}
	}
}

func TestNotUp(t *testing.T) {
	s := &agent.Status{Peers: []agent.PeerView{{Label: "a", State: mesh.PeerStateUp}, {Label: "b", State: mesh.PeerStateDown}}}
	for want, text := range map[string]string{
		"a": "", "b": "b is down", "all": "b is down", "c": `peer "c": not in the mesh; known are: a, b`,
	} {
		if got := NotUp(s, want); got != text {
			t.Errorf("NotUp(%q) = %q, want %q", want, got, text)
		}
	}
	if got := NotUp(&agent.Status{}, "all"); got != "no peers are known" {
		t.Errorf("notUp without peers = %q", got)
	}
}
