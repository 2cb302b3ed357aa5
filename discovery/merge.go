package discovery

import (
	"cmp"
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// Merge merges the affiliates of several registries by node id and sorts them by it. The
// result is shared with the only source that has affiliates.
//
// Of what is said of a node:
//
//   - A signed record is never mixed with anything. The newest one is used as it is,
//     whoever has it. Only the endpoints of equally new ones are joined, since those that
//     other members observed come without a signature, and those of a static peer with them.
//   - What this node's administrator says ([KindStatic]) is likewise used as it is, before
//     anything unsigned.
//   - Other statements are merged field by field. One of a registry that answers and still
//     says it comes before one that doesn't; then the newer one, and at the same time the
//     later name (services before Kubernetes). The first value that is not empty is
//     used, and lists become unions in that order.
//   - What is remembered ([KindCache]) counts only if it is the only one, or the newest
//     record. Otherwise its endpoints come last.
//
// Talos' rules differ: there the last one wins whatever its age, and one service
// overwrites the others.
func Merge(sources ...Source) []mesh.Affiliate {
	var only []mesh.Affiliate
	filled := 0
	for i := range sources {
		if list := sources[i].Affiliates; len(list) > 0 {
			only = list
			filled++
		}
	}
	if filled < 2 {
		return only
	}
	merged := make([]mesh.Affiliate, 0, countNodes(sources))
	eachNode(sources, func(said []statement) {
		merged = append(merged, *said[0].affiliate())
		if len(said) > 1 {
			sortStatements(said)
			join(&merged[len(merged)-1], said)
		}
	})
	return merged
}

// countNodes returns how many nodes the sources have.
func countNodes(sources []Source) (n int) {
	eachNode(sources, func([]statement) { n++ })
	return n
}

// eachNode calls f for each node, by node id, with what is said of it, which f may sort.
func eachNode(sources []Source, f func([]statement)) {
	next := make([]int, len(sources))
	said := make([]statement, 0, len(sources))
	for {
		said = said[:0]
		for i := range sources {
			s := statement{&sources[i], next[i]}
			switch {
			case s.at == len(s.source.Affiliates):
			case len(said) == 0 || s.affiliate().NodeID < said[0].affiliate().NodeID:
				said = append(said[:0], s)
			case s.affiliate().NodeID == said[0].affiliate().NodeID:
				said = append(said, s)
			}
		}
		if len(said) == 0 {
			return
		}
		f(said)
		id := said[0].affiliate().NodeID
		for i := range sources {
			if next[i] < len(sources[i].Affiliates) && sources[i].Affiliates[next[i]].NodeID == id {
				next[i]++
			}
		}
	}
}

// join makes of a what several statements say together, the most believed first.
func join(a *mesh.Affiliate, all []statement) {
	newest := all[0].affiliate()
	for _, s := range all[1:] {
		if s.affiliate().Record.Newer(&newest.Record) {
			newest = s.affiliate()
		}
	}
	*a = *newest
	switch {
	case a.Record.Signed():
		a.Endpoints = nil
		for _, s := range all {
			if from := s.affiliate(); from.Static || !newest.Record.Newer(&from.Record) {
				a.Endpoints = union(a.Endpoints, from.Endpoints)
			}
		}
		return
	case a.Static:
		return
	}
	for _, s := range all[1:] {
		if s.source.Kind == KindCache {
			a.Endpoints = union(a.Endpoints, s.affiliate().Endpoints)
			continue
		}
		add(a, s.affiliate())
	}
}

// add adds to a what b says, where a says nothing.
func add(a, b *mesh.Affiliate) {
	a.Addresses = union(a.Addresses, b.Addresses)
	a.Hostname = cmp.Or(a.Hostname, b.Hostname)
	a.Nodename = cmp.Or(a.Nodename, b.Nodename)
	a.OperatingSystem = cmp.Or(a.OperatingSystem, b.OperatingSystem)
	if a.MachineType == "" || unknownType(a.MachineType) && !unknownType(b.MachineType) {
		a.MachineType = b.MachineType
	}
	a.ControlPlanePort = cmp.Or(a.ControlPlanePort, b.ControlPlanePort)
	a.PublicKey = cmp.Or(a.PublicKey, b.PublicKey)
	a.Address = cmp.Or(a.Address, b.Address)
	a.AdditionalAddresses = union(a.AdditionalAddresses, b.AdditionalAddresses)
	a.Endpoints = union(a.Endpoints, b.Endpoints)
	a.ExcludeAdvertisedNetworks = union(a.ExcludeAdvertisedNetworks, b.ExcludeAdvertisedNetworks)
}

func unknownType(t mesh.MachineType) bool { return t == "" || t == mesh.MachineUnknown }

// union returns a list of what is in either, a itself if b adds nothing. It is quadratic:
// lists are short.
func union[T comparable](a, b []T) []T {
	if len(a) == 0 {
		return b
	}
	a = slices.Clip(a)
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}
