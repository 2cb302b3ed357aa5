package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// DefaultDomain is the domain of nodes' names, if none is configured. It is no registered
// top-level domain.
const DefaultDomain = "mesh"

// Limits of DNS (RFC 1035 §2.3.4), and on the addresses in an answer.
const (
	maxDNSLabel  = 63
	maxDNSName   = 253 // as text, without the final dot
	maxAddresses = 8   // per node
)

// idZone is the label below the domain under which nodes are named by their ids. A nodename
// can't end in it.
const idZone = "id"

// Names are the DNS names of nodes, as one decision has them; nothing changes them later. A
// node has the names NODENAME.DOMAIN, if it owns its nodename, and NODEID.id.DOMAIN.
//
// DNS ignores the case of ASCII letters, nodenames and node ids do not. Of nodenames that
// differ in case only, one has the DNS name: this node's, else that of the node that was
// seen first, even while it is not there, as with nodenames that are equal. Node ids say who
// a node is: one that is written exactly is always found; with another case it is found if
// no other id is the same but for case.
//
// A nodename may have several labels (a host's name with its domain). It has no DNS name
// if a label is not made of letters, digits, "-" and "_", begins or ends with "-", or is too
// long, or if the last of several is "id". Then the node is found by its id.
//
// A name leads to the node's address in the mesh, and to IPv4 addresses that the node
// announces as its own, while these are routed to it through the tunnel. Nodes that are no
// peers, and peers without a mesh address, have no name.
type Names struct {
	domain string
	subnet netip.Prefix
	byName map[string]*named // by name in lower case, without the domain; nil: only names below it exist
	byID   map[string]*named // by node id as it is written
	byAddr map[netip.Addr]*named
}

type named struct {
	names     []string // with the domain
	addresses []netip.Addr
}

// NewNames returns the names that follow from a plan of the node self. The domain is in lower
// case, without dots at its ends; if it is empty, it is [DefaultDomain].
func NewNames(domain string, self Identity, p *Plan) *Names {
	n := &Names{
		domain: cmp.Or(domain, DefaultDomain), subnet: self.Subnet,
		byName: make(map[string]*named, 2*len(p.Specs)+2), byID: make(map[string]*named, len(p.Specs)+1),
		byAddr: make(map[netip.Addr]*named, len(p.Specs)+1),
	}
	n.byName[""] = nil
	known := make(map[string]*Affiliate, len(p.Known))
	for i := range p.Known {
		known[p.Known[i].NodeID] = &p.Known[i]
	}
	owned := map[string]string{} // by node id
	if self.Address.IsValid() {
		n.add(self.NodeID, self.Address, p.Local.Addresses, func(a netip.Addr) bool { return a.Is4() })
		for i := range p.Members {
			if p.Members[i].NodeID == self.NodeID {
				owned[self.NodeID] = p.Local.Nodename
			}
		}
	}
	for i := range p.Specs {
		spec := &p.Specs[i]
		owned[spec.NodeID] = spec.Name
		if spec.Address.IsValid() {
			var announced []netip.Addr
			if a := known[spec.NodeID]; a != nil {
				announced = bounded(a.Addresses, maxPeerAddresses)
			}
			n.add(spec.NodeID, spec.Address, announced, func(a netip.Addr) bool { return a.Is4() && tunnelled(p.Routes, a, i) })
		}
	}
	for _, claim := range nameClaims(self.NodeID, owned, p.Pins) {
		n.name(claim.nodename, n.byID[claim.nodeID])
	}
	n.nameIDs()
	return n
}

// add adds a node by its id.
func (n *Names) add(nodeID string, address netip.Addr, announced []netip.Addr, use func(netip.Addr) bool) {
	d := &named{addresses: []netip.Addr{address}}
	for _, a := range announced {
		if a = a.Unmap(); len(d.addresses) < maxAddresses && use(a) {
			d.addresses = appendNew(d.addresses, a)
		}
	}
	n.byID[nodeID] = d
	for _, a := range d.addresses {
		if n.byAddr[a] == nil {
			n.byAddr[a] = d
		}
	}
}

// tunnelled reports whether packets to an address go through the tunnel to a peer.
func tunnelled(routes []Route, a netip.Addr, peer int) bool {
	i := sort.Search(len(routes), func(i int) bool { return a.Less(routes[i].Prefix.Addr()) }) - 1
	return i >= 0 && routes[i].Peer == peer && routes[i].Path == PathTunnel && routes[i].Prefix.Contains(a)
}

// nameClaim is a nodename and the node that owns it by the rules of nodenames.
type nameClaim struct{ nodename, nodeID string }

// nameClaims returns the owners of nodenames, those first that have a DNS name if it is the
// same: this node, then nodes in the order in which they were seen first.
func nameClaims(self string, owned map[string]string, pins []Pin) []nameClaim {
	claims := make([]nameClaim, 0, len(owned)+len(pins))
	if owned[self] != "" {
		claims = append(claims, nameClaim{owned[self], self})
	}
	byAge := make([]*Pin, 0, len(pins))
	for i := range pins {
		byAge = append(byAge, &pins[i])
	}
	slices.SortFunc(byAge, comparePins)
	done := make(map[string]bool, len(pins)+1)
	done[self] = true
	for _, pin := range byAge {
		if pin.Nodename != "" && !done[pin.NodeID] {
			claims = append(claims, nameClaim{pin.Nodename, pin.NodeID})
		}
		done[pin.NodeID] = true
	}
	rest := len(claims)
	for id, name := range owned {
		if name != "" && !done[id] { // beyond the bound on pins
			claims = append(claims, nameClaim{name, id})
		}
	}
	others := claims[rest:]
	sort.Slice(others, func(i, j int) bool { return others[i].nodeID < others[j].nodeID })
	return claims
}

// name gives a nodename to a node, unless it is taken or can't be in DNS. A node that is nil
// is not there: the name is taken.
func (n *Names) name(nodename string, d *named) {
	key := foldASCII(nodename)
	if !n.fits(key) || strings.HasSuffix(key, "."+idZone) {
		return
	}
	if d == nil {
		d = &named{}
	}
	if n.byName[key] != nil {
		return
	}
	n.byName[key] = d
	d.names = append(d.names, key+"."+n.domain)
}

// nameIDs names nodes by their ids, and adds the names that only have names below them.
// Nodes that are not there are removed.
func (n *Names) nameIDs() {
	for name, d := range n.byName {
		if d != nil && len(d.addresses) == 0 {
			delete(n.byName, name)
		}
	}
	n.addParents()
	if len(n.byID) > 0 && n.byName[idZone] == nil {
		n.byName[idZone] = nil
	}
	ambiguous := map[string]bool{}
	for id, d := range n.byID {
		if strings.Contains(id, ".") || !n.fits(id+"."+idZone) {
			continue
		}
		d.names = append(d.names, id+"."+idZone+"."+n.domain)
		key := foldASCII(id) + "." + idZone
		ambiguous[key] = n.byName[key] != nil
		n.byName[key] = d
	}
	for key, more := range ambiguous {
		if more {
			delete(n.byName, key)
		}
	}
}

// addParents adds the names between nodenames of several labels and the domain.
func (n *Names) addParents() {
	var parents []string
	for name := range n.byName {
		for {
			_, parent, found := strings.Cut(name, ".")
			if !found {
				break
			}
			parents, name = append(parents, parent), parent
		}
	}
	for _, parent := range parents {
		if _, there := n.byName[parent]; !there {
			n.byName[parent] = nil
		}
	}
}

// fits reports whether a name can be in DNS below the domain.
func (n *Names) fits(name string) bool {
	if len(name)+1+len(n.domain) > maxDNSName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxDNSLabel || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
			}) {
			return false
		}
	}
	return true
}

// Domain returns the domain of the names, in lower case, without a final dot.
func (n *Names) Domain() string { return n.domain }

// Subnet returns the mesh's network, of whose addresses nobody else knows the names.
func (n *Names) Subnet() netip.Prefix { return n.subnet }

// Lookup returns the addresses of a name in the domain, the one in the mesh first, and
// whether the name exists: one that has only names below it exists without addresses. Case
// and a final dot don't matter. The addresses are not to be changed.
func (n *Names) Lookup(name string) ([]netip.Addr, bool) {
	rest, in := n.cut(name)
	if !in {
		return nil, false
	}
	if id, zone, _ := strings.Cut(rest, "."); foldASCII(zone) == idZone {
		if d := n.byID[id]; d != nil && n.fits(rest) {
			return d.addresses, true
		}
	}
	d, exists := n.byName[foldASCII(rest)]
	if d == nil {
		return nil, exists
	}
	return d.addresses, true
}

// Search returns the addresses of a host as people write it, and whether the mesh answers for
// it: a name in the domain, which may not exist, or a nodename without the domain. The latter
// has one label, so that no node can take over a name of the Internet, and is not "localhost".
func (n *Names) Search(host string) (addrs []netip.Addr, ours bool) {
	if _, in := n.cut(host); in {
		addrs, _ = n.Lookup(host)
		return addrs, true
	}
	if host = foldASCII(host); host == "localhost" || host == idZone || strings.Contains(host, ".") {
		return nil, false
	}
	if d := n.byName[host]; d != nil {
		return d.addresses, true
	}
	return nil, false
}

// Of returns the names of the node that has an address in the mesh, the preferred one first.
// They are not to be changed.
func (n *Names) Of(addr netip.Addr) []string {
	if d := n.byAddr[addr.Unmap().WithZone("")]; d != nil {
		return d.names
	}
	return nil
}

// Reverse returns the preferred name of the node that has an address; empty if no node has it.
func (n *Names) Reverse(addr netip.Addr) string {
	if names := n.Of(addr); len(names) > 0 {
		return names[0]
	}
	return ""
}

// cut returns what precedes the domain in a name, and whether the name is in the domain.
func (n *Names) cut(name string) (rest string, in bool) {
	name = strings.TrimSuffix(name, ".")
	switch at := len(name) - len(n.domain); {
	case at < 0 || foldASCII(name[at:]) != n.domain:
		return "", false
	case at == 0:
		return "", true
	case at == 1 || name[at-1] != '.':
		return "", false
	default:
		return name[:at-1], true
	}
}

// foldASCII returns s with the letters A to Z in lower case. Other letters stay, unlike with
// strings.ToLower, which makes a "k" of the Kelvin sign.
func foldASCII(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' })
	if i < 0 {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
