package discovery

import (
	"cmp"
	"maps"
	"slices"
	"sort"

	"github.com/wirespan/wirespan/mesh"
)

// Named is the affiliates that one registry found.
type Named struct {
	Name       string // "k8s", "service/NAME", …; the order of merging
	Affiliates []mesh.Affiliate
}

// Merge merges the affiliates of several registries by node id and sorts them by it. It
// reads the sets in the order of their names (Kubernetes before services), sets with the
// same name in the order of the arguments. Lists become unions in first-seen order. Of
// any other field the later value wins unless it is empty or unknown; the operating
// system keeps its first value that is not empty.
//
// Talos' rules differ in two points: one service overwrites the others there, and an
// empty operating system is kept.
//
// A signed affiliate is never mixed: of two, the newer one is used as it is, and of a
// signed and an unsigned one the signed. Only the endpoints of equally new ones are
// joined, since those that other members observed come without a signature.
func Merge(sets ...Named) []mesh.Affiliate {
	sets = slices.Clone(sets)
	sort.SliceStable(sets, func(i, j int) bool { return sets[i].Name < sets[j].Name })
	byID := map[string]mesh.Affiliate{}
	for _, set := range sets {
		for _, a := range set.Affiliates {
			byID[a.NodeID] = merge(byID[a.NodeID], a)
		}
	}
	merged := slices.Collect(maps.Values(byID))
	sort.Slice(merged, func(i, j int) bool { return merged[i].NodeID < merged[j].NodeID })
	return merged
}

// merge returns a with the values of b added. It changes neither.
func merge(a, b mesh.Affiliate) mesh.Affiliate {
	switch {
	case a.Record.Newer(b.Record):
		return a
	case b.Record.Newer(a.Record):
		return b
	case a.Record.Signed():
		a.Endpoints = union(a.Endpoints, b.Endpoints)
		return a
	}
	a.NodeID = b.NodeID
	a.Addresses = union(a.Addresses, b.Addresses)
	a.Hostname = cmp.Or(b.Hostname, a.Hostname)
	a.Nodename = cmp.Or(b.Nodename, a.Nodename)
	a.OperatingSystem = cmp.Or(a.OperatingSystem, b.OperatingSystem)
	if a.MachineType == "" || b.MachineType != "" && b.MachineType != mesh.MachineUnknown {
		a.MachineType = b.MachineType
	}
	a.ControlPlanePort = cmp.Or(b.ControlPlanePort, a.ControlPlanePort)
	a.PublicKey = cmp.Or(b.PublicKey, a.PublicKey)
	a.Address = cmp.Or(b.Address, a.Address)
	a.AdditionalAddresses = union(a.AdditionalAddresses, b.AdditionalAddresses)
	a.Endpoints = union(a.Endpoints, b.Endpoints)
	a.ExcludeAdvertisedNetworks = union(a.ExcludeAdvertisedNetworks, b.ExcludeAdvertisedNetworks)
	return a
}

// union returns a new slice, or nil if both are empty. It is quadratic: lists are short.
func union[T comparable](a, b []T) []T {
	var out []T
	for _, v := range slices.Concat(a, b) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
