package discovery

import (
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Local is what a registry publishes of this node.
type Local struct {
	Affiliate mesh.Affiliate  // this node, with its endpoints
	Others    []mesh.Endpoint // where this node sees others work
}

// Snapshot is what a registry shows at one moment. Its slices are shared: they
// are only to be read.
type Snapshot struct {
	Affiliates []mesh.Affiliate // of the others, sorted by node id
	PublicAddr netip.Addr       // of this host as the source sees it; zero if not known
	Connected  bool             // the source answers, and Affiliates is complete
	Server     string           // where the source is, for people
	ServerAddr netip.Addr       // of the source, or of the proxy on the way to it, as last connected; zero if not known
	Since      time.Time        // when Connected last changed
	LastError  error            // why it isn't connected
	Problems   []Problem        // with what the source says or refuses
	Published  bool             // the source took this node's data as last published
}
