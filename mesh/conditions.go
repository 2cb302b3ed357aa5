package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Types of conditions.
const (
	// ConditionEndpointsTruncated: more endpoints than MaxEndpoints; Subject is this node.
	ConditionEndpointsTruncated ConditionType = "EndpointsTruncated"
	// ConditionAffiliateTruncated: an affiliate announces more than the limits allow.
	ConditionAffiliateTruncated ConditionType = "AffiliateTruncated"
	// ConditionDuplicatePublicKey: two nodes, one of which may be this one, have the same public key.
	ConditionDuplicatePublicKey ConditionType = "DuplicatePublicKey"
	// ConditionDuplicateAddress: two nodes, one of which may be this one, have the same address.
	ConditionDuplicateAddress ConditionType = "DuplicateAddress"
	// ConditionDuplicateNodename: two nodes have the same nodename.
	ConditionDuplicateNodename ConditionType = "DuplicateNodename"
	// ConditionNodenameWithheld: this node does not announce its nodename, because another node has it.
	ConditionNodenameWithheld ConditionType = "NodenameWithheld"
	// ConditionAddressUnusable: a node's KubeSpan address isn't in the cluster's /64.
	ConditionAddressUnusable ConditionType = "AddressUnusable"
	// ConditionNetworkOverlap: a node announces a network that another one keeps.
	ConditionNetworkOverlap ConditionType = "NetworkOverlap"
	// ConditionRouteRefused: a node announces what no peer gets without an Allowance.
	ConditionRouteRefused ConditionType = "RouteRefused"
	// ConditionIdentityChanged: a known node id has another key, unsigned; it is quarantined.
	ConditionIdentityChanged ConditionType = "IdentityChanged"
	// ConditionUnsigned: discovery has records that are not signed, where they must be.
	ConditionUnsigned ConditionType = "UnsignedRecords"
	// ConditionStaticRefused: a static peer has another key than the node signs.
	ConditionStaticRefused ConditionType = "StaticPeerRefused"
	// ConditionRecordOld: a node's record is older than one seen before.
	ConditionRecordOld ConditionType = "RecordOld"
	// ConditionCloned: two processes have the same identity.
	ConditionCloned ConditionType = "IdentityCloned"
	// ConditionNetworksHeld: networks are kept out of the clear for a node that is gone.
	ConditionNetworksHeld ConditionType = "NetworksHeld"
	// ConditionEndpointInMesh: a node announces an endpoint inside a mesh's /64.
	ConditionEndpointInMesh ConditionType = "EndpointInMesh"
	// ConditionAsymmetricExclusion: one side of a pair excludes what the other does not.
	ConditionAsymmetricExclusion ConditionType = "AsymmetricExclusion"
	// ConditionNetworksNotAdvertised: this node can't forward for its networks.
	ConditionNetworksNotAdvertised ConditionType = "NetworksNotAdvertised"
	// ConditionHostDrops: rules of another program on this host drop packets of the mesh.
	ConditionHostDrops ConditionType = "DroppedByHost"
	// ConditionSendRefused: this host refuses to send encrypted packets; Subject is the error.
	ConditionSendRefused ConditionType = "SendRefused"
	// ConditionNoAnswer: handshakes with a peer, or with all, go out and are not answered.
	ConditionNoAnswer ConditionType = "NoAnswer"
	// ConditionNoEndpoint: neither this node nor some of its peers announce an endpoint.
	ConditionNoEndpoint ConditionType = "NoEndpoint"
	// ConditionNoRelay: some peers need a relay, and none works.
	ConditionNoRelay ConditionType = "NoRelay"
	// ConditionNoJoinToken: this founder can make no join token.
	ConditionNoJoinToken ConditionType = "NoJoinToken"
	// ConditionPathMTU: the path to a peer does not take packets as large as the tunnel's MTU.
	ConditionPathMTU ConditionType = "PathMTU"
	// ConditionKernelLacks: the kernel lacks a part that routing or filtering needs; Subject is the part.
	ConditionKernelLacks ConditionType = "KernelLacks"
	// ConditionMarkRewritten: another program on this host changes the mark of encrypted packets.
	ConditionMarkRewritten ConditionType = "MarkRewritten"
)

// conflicts are the types of conditions about something that several nodes claim, or that a
// node may not claim.
var conflicts = []ConditionType{
	ConditionDuplicatePublicKey, ConditionDuplicateAddress, ConditionDuplicateNodename, ConditionNodenameWithheld, ConditionAddressUnusable,
	ConditionNetworkOverlap, ConditionRouteRefused, ConditionIdentityChanged, ConditionStaticRefused, ConditionCloned, ConditionEndpointInMesh, ConditionAsymmetricExclusion,
}

// Conflict reports whether a condition is about something that several nodes
// claim, or that a node may not claim.
func (t ConditionType) Conflict() bool { return slices.Contains(conflicts, t) }

// conditions collects the problems found while a plan is made.
type conditions []Condition

func (c *conditions) add(t ConditionType, subject, format string, args ...any) {
	*c = append(*c, Condition{Type: t, Subject: subject, Message: fmt.Sprintf(format, args...)})
}

// about adds a condition about a node: its message begins with the node's names.
func (c *conditions) about(a *Affiliate, t ConditionType, format string, args ...any) {
	name := a.displayName()
	c.add(t, name, "%q (node %s) %s", name, a.NodeID, fmt.Sprintf(format, args...))
}

// Listed names the first of a list, and says how many more there are.
func Listed(list []string, most int) string {
	text := strings.Join(bounded(list, most), ", ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// sorted returns the conditions in their final order, without duplicates.
func (c conditions) sorted() []Condition {
	sort.Slice(c, func(i, j int) bool {
		return cmp.Or(
			cmp.Compare(c[i].Type, c[j].Type),
			cmp.Compare(c[i].Subject, c[j].Subject),
			cmp.Compare(c[i].Message, c[j].Message)) < 0
	})
	return slices.Compact(c)
}

// displayName returns the name of the node in messages.
func (a *Affiliate) displayName() string { return cmp.Or(a.Nodename, a.NodeID) }
