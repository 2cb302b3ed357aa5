package proxy

import (
	"sync/atomic"

	"github.com/wirespan/wirespan/device/splice"
)

// Stats are counters of a proxy since its start, except for Open and Associations, which
// are present numbers.
type Stats struct {
	Open                int64 // connections of clients
	Associations        int64 // UDP associations
	Accepted            int64 // connections taken
	Refused             int64 // connections closed at once because of Limits.Connections
	AssociationsRefused int64 // because of Limits.Associations
	AuthFailures        int64 // wrong credentials; none at all don't count
	BytesUp             int64 // from clients, of tunnels, HTTP and datagrams
	BytesDown           int64 // to clients
	DatagramsDropped    int64 // both ways
}

type counters struct {
	open, associations, accepted, refused, associationsRefused, authFailures, dropped atomic.Int64

	moved splice.Counters // A is the client
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{
		Open:                c.open.Load(),
		Associations:        c.associations.Load(),
		Accepted:            c.accepted.Load(),
		Refused:             c.refused.Load(),
		AssociationsRefused: c.associationsRefused.Load(),
		AuthFailures:        c.authFailures.Load(),
		BytesUp:             c.moved.AToB.Load(),
		BytesDown:           c.moved.BToA.Load(),
		DatagramsDropped:    c.dropped.Load(),
	}
}

// takeSlot counts one more of what is limited, and reports whether there was room.
func takeSlot(n *atomic.Int64, limit int) bool {
	if n.Add(1) <= int64(limit) {
		return true
	}
	n.Add(-1)
	return false
}
