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
		a.PersistentKeepalive == b.PersistentKeepalive && a.Standby == b.Standby && slices.Equal(a.AllowedIPs, b.AllowedIPs)
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
