package control

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/wirespan/wirespan/mesh/agent"
)

// selection is what a request asks for.
type selection struct {
	typ     string
	id      string // empty: all
	secrets bool
}

// of returns the selected resources and a channel that is closed at the next
// change. An id that no resource has may be a name or an address.
func (s selection) of(a Agent) ([]agent.Resource, <-chan struct{}) {
	list, changed := a.Resources().List(s.typ, s.id, s.secrets)
	if s.id == "" || len(list) > 0 {
		return list, changed
	}
	all, changed := a.Resources().List(s.typ, "", s.secrets)
	names := namesOf(a.Status(), s.id)
	for i := range all {
		if names.match(&all[i]) {
			list = append(list, all[i])
		}
	}
	return list, changed
}

// names are what one node is called by.
type names []string

// namesOf returns all names of the node that has one of them or an address.
func namesOf(s *agent.Status, want string) names {
	if p, err := FindPeer(s, want); err == nil {
		return names{want, p.Label, p.NodeID, p.PublicKey.String(), p.Address.String()}
	}
	self := names{want, s.Node.Nodename, s.Node.PublicKey.String(), s.Node.ID, s.Node.Address.String()}
	if isSelf(s, want) || slices.ContainsFunc(self[1:], func(n string) bool { return strings.EqualFold(n, want) }) {
		return self
	}
	return names{want}
}

// match reports whether a resource is about the node.
func (n names) match(r *agent.Resource) bool {
	type about struct {
		Label, Nodename, Hostname, Peer, NodeID, PublicKey, Address string
		Addresses                                                   []string
	}
	var spec struct {
		about
		KubeSpan about
	}
	_ = json.Unmarshal(r.Spec, &spec) // keys of other types than these are of no use here
	if n.have(r.Metadata.ID) {
		return true
	}
	for _, a := range []*about{&spec.about, &spec.KubeSpan} {
		texts := append([]string{a.Label, a.Nodename, a.Hostname, a.Peer, a.NodeID, a.PublicKey, a.Address}, a.Addresses...)
		if slices.ContainsFunc(texts, n.have) {
			return true
		}
	}
	return false
}

// have reports whether text is one of the names. Addresses may be written as
// networks of one address.
func (n names) have(text string) bool {
	if p, err := netip.ParsePrefix(text); err == nil && p.IsSingleIP() {
		text = p.Addr().String()
	}
	return text != "" && slices.ContainsFunc(n, func(name string) bool { return strings.EqualFold(name, text) })
}
