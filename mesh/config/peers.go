package config

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// Limits of a peers file.
const (
	// MaxPeersFile bounds the file, in bytes.
	MaxPeersFile = 1 << 20
	// MaxStaticPeers bounds the peers in it.
	MaxStaticPeers = 1024

	maxStaticEndpoints = 16 // of a peer
	maxStaticNetworks  = 64 // of a peer
)

// ParsePeers reads a peers file: the peers that the administrator of this node has written,
// for the mesh whose addresses are in subnet. The error lists all problems. The result is
// sorted by node id.
func ParsePeers(f File, subnet netip.Prefix) ([]mesh.Affiliate, error) {
	r := &peersReader{subnet: subnet, seen: map[string]pos{}}
	if len(f.Data) > MaxPeersFile {
		r.add(pos{file: f.Name}, "larger than %d KiB", MaxPeersFile>>10)
		return nil, r.err()
	}
	r.each(f, r.document)
	if err := r.err(); err != nil {
		return nil, err
	}
	sort.Slice(r.peers, func(i, j int) bool { return r.peers[i].NodeID < r.peers[j].NodeID })
	return r.peers, nil
}

// peersReader reads the documents of a peers file.
type peersReader struct {
	loader
	subnet netip.Prefix
	seen   map[string]pos // what only one peer may have
	peers  []mesh.Affiliate
}

func (r *peersReader) document(o *object) {
	for _, p := range o.objects("peers", MaxStaticPeers) {
		r.peer(p)
		p.finish()
	}
	o.finish()
	if len(r.peers) > MaxStaticPeers {
		r.add(o.at, "more than %d peers", MaxStaticPeers)
		r.peers = nil
	}
}

// peer reads one peer. A node of the mesh has a node id; a device that only speaks
// WireGuard has one that follows from its key.
func (r *peersReader) peer(o *object) {
	before := r.problems.count
	a := mesh.Affiliate{MachineType: mesh.MachineUnknown, Static: true}
	r.take(o, "publicKey", func(s string) (_ string, err error) {
		a.PublicKey, err = parsePeerKey(s)
		return a.PublicKey.String(), err
	})
	r.take(o, "name", func(s string) (_ string, err error) { a.Nodename, err = parseNodename(s); return s, err })
	r.take(o, "nodeID", func(s string) (_ string, err error) { a.NodeID, err = parseNodeID(s); return s, err })
	r.take(o, "address", func(s string) (_ string, err error) {
		a.Address, err = r.parseAddress(s)
		return a.Address.String(), err
	})
	a.Hostname = a.Nodename
	r.takeList(o, "endpoints", maxStaticEndpoints, func(s string) error {
		ep, err := parseEndpoint(s)
		a.Endpoints = append(a.Endpoints, ep)
		return err
	})
	r.takeList(o, "networks", maxStaticNetworks, func(s string) error {
		p, err := parseLocatedNetwork(s)
		a.AdditionalAddresses = append(a.AdditionalAddresses, p)
		return err
	})
	if r.problems.count > before {
		return
	}
	title := strings.TrimSuffix(o.path, ".")
	if err := checkDisjoint(a.AdditionalAddresses); err != nil {
		r.add(o.at, "%s.networks: %v", title, err)
	}
	switch {
	case a.PublicKey.IsZero():
		r.add(o.at, "%s: publicKey is required", title)
	case a.NodeID == "" && !a.Address.IsValid() && len(a.AdditionalAddresses) == 0:
		r.add(o.at, "%s: give it an address, a nodeID or networks: nothing leads to it", title)
	case a.NodeID == "":
		a.NodeID = mesh.NodeIDOfKey(a.PublicKey)
	case !a.Address.IsValid():
		a.Address = mesh.DerivedAddress(r.subnet, a.NodeID)
	}
	r.peers = append(r.peers, a)
}

// take reads the text of a key that no other peer may have, if it is there. Parse returns its
// canonical form.
func (r *peersReader) take(o *object, key string, parse func(string) (string, error)) {
	t := o.text(key)
	if t.value == "" {
		return
	}
	canonical, err := parse(t.value)
	if err != nil {
		r.add(t.at, "%s%s: %v", o.path, key, err)
		return
	}
	id := key + " " + canonical
	if at, taken := r.seen[id]; taken {
		r.add(t.at, "%s%s: the peer at line %d has it, too", o.path, key, at.line)
	}
	r.seen[id] = t.at
}

// takeList reads a list of a peer.
func (r *peersReader) takeList(o *object, key string, limit int, parse func(string) error) {
	list := o.list(key)
	if len(list) > limit {
		_, at := o.take(key)
		r.add(at, "%s%s: %d of them, at most %d", o.path, key, len(list), limit)
		return
	}
	for _, t := range list {
		if err := parse(t.value); err != nil {
			r.add(t.at, "%s%s: %v", o.path, key, err)
		}
	}
}

func parsePeerKey(s string) (mesh.Key, error) {
	k, err := mesh.ParseKey(s)
	if err != nil || k.IsZero() {
		return k, fmt.Errorf("%.100q is not a WireGuard public key, as wg show prints it", s)
	}
	return k, nil
}

func parseNodeID(s string) (string, error) {
	if _, err := mesh.DecodeNodeID(s); err != nil {
		return "", fmt.Errorf("%.100q is not a node id, as wirespan get identity shows it", s)
	}
	return s, nil
}

// parseAddress reads an address in the mesh.
func (r *peersReader) parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%.100q is not an IP address", s)
	}
	if !r.subnet.Contains(a) {
		return netip.Addr{}, fmt.Errorf("%v is not in this mesh's %v", a, r.subnet)
	}
	return a, nil
}
