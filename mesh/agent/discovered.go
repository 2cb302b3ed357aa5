package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// published reports whether nodes publish to registries of this kind: what these do not list
// is gone.
func published(k discovery.Kind) bool { return k != discovery.KindStatic && k != discovery.KindCache }

// titleOf names a registry in messages.
func titleOf(k discovery.Kind, name string) string {
	switch k {
	case discovery.KindService:
		return "discovery service " + name
	case discovery.KindKubernetes:
		return "Kubernetes" + strings.TrimPrefix(name, string(k))
	}
	return name
}

// remains says what becomes of this node's entry at a registry that could not delete it.
func remains(k discovery.Kind) string {
	if k == discovery.KindKubernetes {
		return "it stays until someone removes the annotations of this machine's Node"
	}
	return fmt.Sprintf("it expires by itself within %s", discovery.MaxTTL)
}

// discovered returns the merged affiliates of all registries and the cache, and notes what
// else these have to say.
func (a *Agent) discovered(now time.Time) []mesh.Affiliate {
	s := &a.sources
	s.found = make([]discovery.Source, 0, len(s.running)+1)
	s.public, s.problems, s.unreadable, s.unknown = nil, nil, false, false
	remote := false
	for _, r := range a.registries() {
		remote = remote || published(r.kind)
		a.hear(r, r.shown())
	}
	s.answered = s.answered || !remote
	if remembered := a.recall(now); remembered != nil {
		s.found = append(s.found, *remembered)
	}
	affiliates, refused := withIDs(discovery.Merge(s.found...))
	s.problems = bounded(slices.Concat(s.problems, refused, contradicted(s.found, affiliates)))
	return affiliates
}

// hear notes what a registry shows.
func (a *Agent) hear(r *runningRegistry, snap *discovery.Snapshot) {
	s := &a.sources
	from := discovery.Source{Kind: r.kind, Name: r.name, Affiliates: snap.Affiliates, Heard: snap.Heard}
	r.answered = r.answered || snap.Connected
	if !snap.Connected {
		from.Lost = snap.Since
	}
	if published(r.kind) {
		s.answered = s.answered || snap.Connected
	} else {
		s.unknown = s.unknown || !snap.Connected
	}
	if r.former {
		a.onlyPinned(&from)
	}
	s.found = append(s.found, from)
	if snap.PublicAddr.IsValid() {
		s.public = append(s.public, snap.PublicAddr)
	}
	for _, p := range snap.Problems {
		s.unreadable = s.unreadable || p.Reason == discovery.ReasonWrongSecret
		s.problems = append(s.problems, a.describe(r, p))
	}
}

// contradicted returns the conditions for static peers that have another key than the signed
// record that is used in their place.
func contradicted(found []discovery.Source, affiliates []mesh.Affiliate) (out []mesh.Condition) {
	for i := range found {
		if found[i].Kind != discovery.KindStatic {
			continue
		}
		for k := range found[i].Affiliates {
			said := &found[i].Affiliates[k]
			at := sort.Search(len(affiliates), func(i int) bool { return affiliates[i].NodeID >= said.NodeID })
			if at == len(affiliates) || affiliates[at].NodeID != said.NodeID {
				continue
			}
			if used := &affiliates[at]; used.Record.Signed() && !used.PublicKey.IsZero() && used.PublicKey != said.PublicKey && used.Record.NextKey != said.PublicKey {
				out = append(out, mesh.StaticRefused(said, used.PublicKey))
			}
		}
	}
	return out
}

// describe returns the condition for a problem of a registry.
func (a *Agent) describe(r *runningRegistry, p discovery.Problem) mesh.Condition {
	message := a.whose(p.AffiliateID) + p.Reason
	if published(r.kind) {
		message = titleOf(r.kind, r.name) + ": " + message
	}
	return mesh.Condition{Type: conditionData, Subject: cmp.Or(p.AffiliateID, r.name), Message: message}
}

// withIDs returns the affiliates that have a node id.
func withIDs(affiliates []mesh.Affiliate) ([]mesh.Affiliate, []mesh.Condition) {
	var refused []mesh.Condition
	good := affiliates // copied once one is refused
	for i := range affiliates {
		_, err := mesh.DecodeNodeID(affiliates[i].NodeID)
		switch {
		case err != nil:
			if refused == nil {
				good = slices.Clip(affiliates[:i])
			}
			refused = append(refused, mesh.Condition{Type: conditionData, Subject: "node ids", Message: "ignored an affiliate: " + err.Error()})
		case refused != nil:
			good = append(good, affiliates[i])
		}
	}
	return good, refused
}

// whose names the node of an affiliate for a message, if this node has known it; it is empty
// otherwise.
func (a *Agent) whose(affiliate string) string {
	if affiliate == "" {
		return ""
	}
	text := ""
	pins := a.cfg.Memory.Pins(a.self.Subnet)
	for i := range pins {
		if p := &pins[i]; p.NodeID == affiliate && p.Nodename != "" {
			text = mesh.QuoteName(p.Nodename)
		}
	}
	if text == "" {
		return ""
	}
	for i := range a.previous.Known {
		if k := &a.previous.Known[i]; k.NodeID == affiliate && len(k.Endpoints) > 0 {
			text += " at " + k.Endpoints[0].String()
		}
	}
	return text + ": "
}

// maxProblems bounds the conditions about data of discovery, which others write.
const maxProblems = 64

// bounded returns the first of problems, and a condition that counts the others.
func bounded(problems []mesh.Condition) []mesh.Condition {
	more := len(problems) - maxProblems
	if more <= 0 {
		return problems
	}
	return append(problems[:maxProblems], mesh.Condition{
		Type: conditionData, Subject: "discovery", Message: fmt.Sprintf("and %d more problems with the data of discovery", more),
	})
}

// discoveryServers returns the addresses of discovery services: no peer may draw
// them into the tunnel.
func (a *Agent) discoveryServers() (list []netip.Addr) {
	for _, r := range a.registries() {
		if at := r.shown().ServerAddr; at.IsValid() {
			list = append(list, at)
		}
	}
	return list
}

// sameSources reports whether registries have found nothing else: they replace what they
// show, and never change it.
func sameSources(a, b []discovery.Source) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		s, o := &a[i], &b[i]
		n, h := len(s.Affiliates), len(s.Heard)
		if s.Kind != o.Kind || s.Name != o.Name || !s.Lost.Equal(o.Lost) || n != len(o.Affiliates) || h != len(o.Heard) ||
			n > 0 && &s.Affiliates[0] != &o.Affiliates[0] || h > 0 && &s.Heard[0] != &o.Heard[0] {
			return false
		}
	}
	return true
}

// podNetworks returns the networks that Kubernetes has given to this node's pods.
func (a *Agent) podNetworks() (list []netip.Prefix) {
	for _, r := range a.registries() {
		for _, p := range r.shown().Networks {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}
