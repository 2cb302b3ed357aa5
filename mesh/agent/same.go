package agent

import (
	"slices"

	"github.com/wirespan/wirespan/mesh"
)

// Most passes find nothing new in long lists. They are compared by hand, since
// reflection leaves more garbage than showing or applying them anew.

// sameConfig reports whether the device needs the same for two peers.
func sameConfig(a, b mesh.PeerConfig) bool {
	return a.PublicKey == b.PublicKey && a.PresharedKey == b.PresharedKey && a.Endpoint == b.Endpoint &&
		a.PersistentKeepalive == b.PersistentKeepalive && a.Standby == b.Standby && a.Sequence == b.Sequence &&
		a.Race == b.Race && a.Address == b.Address && slices.Equal(a.Candidates, b.Candidates) && slices.Equal(a.AllowedIPs, b.AllowedIPs)
}

// sameLinks reports whether packets to peers leave this host alike, as far as its links tell.
func sameLinks(a, b []mesh.Link) bool {
	other := func(l mesh.Link) bool { return !l.AnnouncedByDefault() }
	return slices.EqualFunc(slices.DeleteFunc(slices.Clone(a), other), slices.DeleteFunc(slices.Clone(b), other), func(a, b mesh.Link) bool {
		return a.Name == b.Name && a.Up == b.Up && a.DefaultRoute == b.DefaultRoute && slices.Equal(a.Addresses, b.Addresses)
	})
}

// sameSpec reports whether two peers are shown alike.
func sameSpec(a, b mesh.PeerSpec) bool {
	return a.PublicKey == b.PublicKey && a.Label == b.Label && a.Address == b.Address &&
		slices.Equal(a.AllowedIPs, b.AllowedIPs) && slices.Equal(a.Endpoints, b.Endpoints)
}

// sameAffiliate reports whether two affiliates are shown alike.
func sameAffiliate(a, b mesh.Affiliate) bool {
	return a.NodeID == b.NodeID && a.Hostname == b.Hostname && a.Nodename == b.Nodename &&
		a.OperatingSystem == b.OperatingSystem && a.MachineType == b.MachineType && a.ControlPlanePort == b.ControlPlanePort &&
		a.PublicKey == b.PublicKey && a.Address == b.Address && a.Record.Sequence == b.Record.Sequence && a.Record.Instance == b.Record.Instance &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.AdditionalAddresses, b.AdditionalAddresses) &&
		slices.Equal(a.Endpoints, b.Endpoints) && slices.Equal(a.ExcludeAdvertisedNetworks, b.ExcludeAdvertisedNetworks)
}

// sameRoutes reports whether the routes of two plans with the same specs are shown
// alike.
func sameRoutes(a, b mesh.Plan) bool {
	return slices.Equal(a.Routes, b.Routes) && slices.EqualFunc(a.Statuses, b.Statuses, func(a, b mesh.PeerStatus) bool { return a.State == b.State })
}

// sameNames reports whether the names of nodes that follow from two plans are the same.
func sameNames(a, b *mesh.Plan) bool {
	return a.Local.Nodename == b.Local.Nodename && slices.Equal(a.Local.Addresses, b.Local.Addresses) &&
		slices.EqualFunc(a.Members, b.Members, func(a, b mesh.Member) bool { return a.NodeID == b.NodeID && a.Nodename == b.Nodename }) &&
		slices.EqualFunc(a.Specs, b.Specs, func(a, b mesh.PeerSpec) bool {
			return a.NodeID == b.NodeID && a.Name == b.Name && a.Address == b.Address
		}) &&
		slices.EqualFunc(a.Pins, b.Pins, func(a, b mesh.Pin) bool {
			return a.NodeID == b.NodeID && a.Nodename == b.Nodename && a.FirstSeen.Equal(b.FirstSeen)
		}) &&
		slices.EqualFunc(a.Known, b.Known, func(a, b mesh.Affiliate) bool {
			return a.NodeID == b.NodeID && slices.Equal(a.Addresses, b.Addresses)
		}) &&
		slices.Equal(a.Routes, b.Routes)
}
