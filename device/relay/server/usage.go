package server

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Usage is what a member has used since the server runs.
type Usage struct {
	Member      string
	Allocations []netip.AddrPort // that it has now, sorted
	Packets     uint64           // relayed, both directions
	SentBytes   uint64           // from the member to peers
	Received    uint64           // bytes from peers to the member
	Dropped     uint64           // packets: bandwidth, target or source not allowed
	Refused     uint64           // allocations
}

// usage is that of a member, while it is one.
type usage struct {
	member                                      Member
	packets, sent, received, dropped, refusedBy atomic.Uint64
}

// usageOf returns the usage of a user; the lock is held.
func (s *Server) usageOf(user string, m Member) *usage {
	u := s.members[user]
	if u == nil {
		u = &usage{member: m}
		s.members[user] = u
	}
	return u
}

// Usage returns what each member has used that had an allocation, or asked for one, sorted by
// name.
func (s *Server) Usage() []Usage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]Usage, 0, len(s.members))
	for user, u := range s.members {
		one := Usage{
			Member: u.member.Name, Packets: u.packets.Load(), SentBytes: u.sent.Load(), Received: u.received.Load(),
			Dropped: u.dropped.Load(), Refused: u.refusedBy.Load(),
		}
		for relayed, a := range s.live {
			if a.user == user {
				one.Allocations = append(one.Allocations, relayed)
			}
		}
		slices.SortFunc(one.Allocations, netip.AddrPort.Compare)
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Usage) int { return cmp.Compare(a.Member, b.Member) })
	return list
}
