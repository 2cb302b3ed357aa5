package control

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// FindPeer returns the peer with a nodename, a name in DNS, a node id, a public key or any
// address of the mesh.
func FindPeer(s *agent.Status, want string) (peer agent.PeerView, err error) {
	addr, _ := netip.ParseAddr(want) // invalid: it is a name
	addr = addr.Unmap()
	var found, folded []*agent.PeerView
	for i := range s.Peers {
		p := &s.Peers[i]
		switch {
		case isPeer(p, want) || addr.IsValid() && p.Owns(addr):
			found = append(found, p)
		case strings.EqualFold(p.Label, want):
			folded = append(folded, p)
		}
	}
	if len(found) == 0 {
		found = folded
	}
	switch {
	case len(found) == 1:
		return *found[0], nil
	case len(found) > 1:
		return peer, fmt.Errorf("peer %q: %d peers have this name, give an address", want, len(found))
	case addr.IsValid() && addr == s.Node.Address || isSelf(s, want) || want == s.Node.PublicKey.String():
		return peer, fmt.Errorf("%q is this node itself, not a peer", want)
	}
	return peer, fmt.Errorf("peer %q: not in the mesh; known are: %s", want, someNames(s.Peers))
}

// isPeer reports whether a nodename, a name in DNS, a node id or a public key is that of a peer.
func isPeer(p *agent.PeerView, want string) bool {
	return p.Label == want || p.NodeID == want || named(p.Names, want) || p.PublicKey.String() == want
}

// isSelf reports whether a nodename, a name in DNS or a node id is that of this node.
func isSelf(s *agent.Status, want string) bool {
	return strings.EqualFold(want, s.Node.Nodename) || want == s.Node.ID || named(s.Names, want)
}

// named reports whether a name, perhaps with a final dot, is one of a node's names in DNS.
func named(names []string, want string) bool {
	want = strings.TrimSuffix(want, ".")
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, want) })
}

// someNames lists peers for a message, not all of a large mesh.
func someNames(peers []agent.PeerView) string {
	const most = 10
	var names []string
	for i := range peers {
		name := mesh.QuoteName(peers[i].Name())
		if slices.Contains(names, name) {
			continue
		}
		if len(names) == most {
			names = append(names, "…")
			break
		}
		names = append(names, name)
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

// NotUp says which of the wanted peers, or of "all", are not up; empty if all are.
func NotUp(s *agent.Status, want string) string {
	peers := s.Peers
	if want != "all" {
		p, err := FindPeer(s, want)
		if err != nil {
			return err.Error()
		}
		peers = []agent.PeerView{p}
	}
	if len(peers) == 0 {
		return "no peers are known"
	}
	var waiting []string
	for i := range peers {
		if p := &peers[i]; p.State != mesh.PeerStateUp {
			waiting = append(waiting, fmt.Sprintf("%s is %s", mesh.QuoteName(p.Name()), p.State))
		}
	}
	return strings.Join(waiting, ", ")
}
