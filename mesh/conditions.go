package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// Types of conditions.
const (
	// ConditionEndpointsTruncated: more endpoints than MaxEndpoints; Subject is this node.
	ConditionEndpointsTruncated ConditionType = "EndpointsTruncated"
	// ConditionAffiliateTruncated: an affiliate announces more than is considered.
	ConditionAffiliateTruncated ConditionType = "AffiliateTruncated"
	// ConditionDuplicatePublicKey: two nodes, this one included, have one public key.
	ConditionDuplicatePublicKey ConditionType = "DuplicatePublicKey"
	// ConditionDuplicateAddress: two nodes, this one included, have one address.
	ConditionDuplicateAddress ConditionType = "DuplicateAddress"
	// ConditionDuplicateNodename: two nodes have one nodename.
	ConditionDuplicateNodename ConditionType = "DuplicateNodename"
	// ConditionAddressUnusable: a node's KubeSpan address isn't in the cluster's /64.
	ConditionAddressUnusable ConditionType = "AddressUnusable"
	// ConditionNetworkOverlap: a node announces what an earlier one keeps.
	ConditionNetworkOverlap ConditionType = "NetworkOverlap"
	// ConditionRouteRefused: a node announces what no peer may have unasked.
	ConditionRouteRefused ConditionType = "RouteRefused"
	// ConditionIdentityChanged: a known node id has another key or address.
	ConditionIdentityChanged ConditionType = "IdentityChanged"
	// ConditionEndpointInMesh: a node announces an endpoint inside a mesh's /64.
	ConditionEndpointInMesh ConditionType = "EndpointInMesh"
	// ConditionAsymmetricExclusion: one side of a pair excludes what the other does not.
	ConditionAsymmetricExclusion ConditionType = "AsymmetricExclusion"
	// ConditionNetworksNotAdvertised: this node can't forward for its networks.
	ConditionNetworksNotAdvertised ConditionType = "NetworksNotAdvertised"
)

// Conflict reports whether a condition is about what several nodes claim, or
// one may not have.
func (t ConditionType) Conflict() bool {
	switch t {
	case ConditionDuplicatePublicKey, ConditionDuplicateAddress, ConditionDuplicateNodename, ConditionAddressUnusable,
		ConditionNetworkOverlap, ConditionRouteRefused, ConditionIdentityChanged, ConditionEndpointInMesh, ConditionAsymmetricExclusion:
		return true
	}
	return false
}

// conditions collects problems while a plan is made.
type conditions []Condition

func (c *conditions) add(t ConditionType, subject, format string, args ...any) {
	*c = append(*c, Condition{Type: t, Subject: subject, Message: fmt.Sprintf(format, args...)})
}

// sorted is the collection in its final order, each problem once.
func (c conditions) sorted() []Condition {
	sort.Slice(c, func(i, j int) bool {
		return cmp.Or(
			cmp.Compare(c[i].Type, c[j].Type),
			cmp.Compare(c[i].Subject, c[j].Subject),
			cmp.Compare(c[i].Message, c[j].Message)) < 0
	})
	return slices.Compact(c)
}

// displayName is what a person calls the node.
func (a *Affiliate) displayName() string { return cmp.Or(a.Nodename, a.NodeID) }
