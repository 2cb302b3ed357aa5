package discovery

import (
	"errors"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// ErrRefused reports that asking again is of no use: the server refuses what this node
// asks for, or it is another server than the one with the pin.
var ErrRefused = errors.New("refused")

// Local is the data that a registry publishes for this node.
type Local struct {
	Affiliate mesh.Affiliate  // this node, with its endpoints; signed if it has a record
	Others    []mesh.Endpoint // where this node reaches other members
}

// Snapshot is the state of a registry at one moment. Its slices are shared and must not
// be modified.
type Snapshot struct {
	Affiliates []mesh.Affiliate // the other members, sorted by node id
	Heard      []Heard          // of each of Affiliates; nil: not known
	Self       mesh.Affiliate   // this node as the source has it; without a NodeID if it has nothing that is signed
	Removed    []string         // ids of members that someone has removed for good; sorted
	PublicAddr netip.Addr       // of this host, as the source sees it; zero if unknown
	Connected  bool             // the source answers and Affiliates is complete
	Server     string           // address of the source, for display
	ServerAddr netip.Addr       // of the source, or of the proxy in front of it, at the last connection; zero if unknown
	Since      time.Time        // when Connected last changed
	LastError  error            // the reason why Connected or Published is false; nil if that takes its time
	Problems   []Problem        // with data that the source sends or refuses
	Networks   []netip.Prefix   // of this node's pods, as Kubernetes assigns them
	Published  bool             // the source has accepted this node's latest data
}
