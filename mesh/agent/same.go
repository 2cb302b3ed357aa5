package agent

import (
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// Most passes find nothing new in long lists. They are compared by hand, since
// reflection leaves more garbage than showing or applying them anew.

// equal reports whether two lists have the same items. It passes pointers: items are large.
func equal[T any](a, b []T, same func(a, b *T) bool) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !same(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

// sameConfig reports whether the device needs the same for two peers.
func sameConfig(a, b *mesh.PeerConfig) bool {
	return a.PublicKey == b.PublicKey && a.PresharedKey == b.PresharedKey && a.Endpoint == b.Endpoint &&
		a.PersistentKeepalive == b.PersistentKeepalive && a.Standby == b.Standby && a.Sequence == b.Sequence &&
		a.Race == b.Race && a.Address == b.Address && slices.Equal(a.Candidates, b.Candidates) && slices.Equal(a.AllowedIPs, b.AllowedIPs)
}

// sameLinks reports whether packets to peers leave this host alike, as far as its links tell.
func sameLinks(a, b []mesh.Link) bool {
	return equal(announcedLinks(a), announcedLinks(b), func(a, b *mesh.Link) bool {
		return a.Name == b.Name && a.Up == b.Up && a.DefaultRoute == b.DefaultRoute && slices.Equal(a.Addresses, b.Addresses)
	})
}

func announcedLinks(links []mesh.Link) (out []mesh.Link) {
	for i := range links {
		if links[i].AnnouncedByDefault() {
			out = append(out, links[i])
		}
	}
	return out
}

// sameSpec reports whether two peers are shown alike.
func sameSpec(a, b *mesh.PeerSpec) bool {
	return a.PublicKey == b.PublicKey && a.Label == b.Label && a.Address == b.Address &&
		slices.Equal(a.AllowedIPs, b.AllowedIPs) && slices.Equal(a.Endpoints, b.Endpoints)
}

// sameAffiliate reports whether two affiliates are shown alike.
func sameAffiliate(a, b *mesh.Affiliate) bool {
	return a.NodeID == b.NodeID && a.Hostname == b.Hostname && a.Nodename == b.Nodename &&
		a.OperatingSystem == b.OperatingSystem && a.MachineType == b.MachineType && a.ControlPlanePort == b.ControlPlanePort &&
		a.PublicKey == b.PublicKey && a.Address == b.Address && a.Record.Sequence == b.Record.Sequence && a.Record.Instance == b.Record.Instance &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.AdditionalAddresses, b.AdditionalAddresses) &&
		slices.Equal(a.Endpoints, b.Endpoints) && slices.Equal(a.ExcludeAdvertisedNetworks, b.ExcludeAdvertisedNetworks)
}

// sameRoutes reports whether the routes of two plans with the same specs are shown
// alike.
func sameRoutes(a, b *mesh.Plan) bool {
	return slices.Equal(a.Routes, b.Routes) && equal(a.Statuses, b.Statuses, func(a, b *mesh.PeerStatus) bool { return a.State == b.State })
}

// sameNames reports whether the names of nodes that follow from two plans are the same.
func sameNames(a, b *mesh.Plan) bool {
	return a.Local.Nodename == b.Local.Nodename && slices.Equal(a.Local.Addresses, b.Local.Addresses) &&
		equal(a.Members, b.Members, func(a, b *mesh.Member) bool { return a.NodeID == b.NodeID && a.Nodename == b.Nodename }) &&
		equal(a.Specs, b.Specs, func(a, b *mesh.PeerSpec) bool {
			return a.NodeID == b.NodeID && a.Name == b.Name && a.Address == b.Address
		}) &&
		equal(a.Pins, b.Pins, func(a, b *mesh.Pin) bool {
			return a.NodeID == b.NodeID && a.Nodename == b.Nodename && a.FirstSeen.Equal(b.FirstSeen)
		}) &&
		equal(a.Known, b.Known, func(a, b *mesh.Affiliate) bool {
			return a.NodeID == b.NodeID && slices.Equal(a.Addresses, b.Addresses)
		}) &&
		slices.Equal(a.Routes, b.Routes)
}
