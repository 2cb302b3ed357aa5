package relay

import (
	"maps"
	"net/netip"
	"sync/atomic"
)

// table is what the data path knows: which channel or permission leads to whom. It is replaced,
// never written to.
type table struct {
	channels  map[netip.AddrPort]*binding
	numbers   map[uint16]*binding
	permitted map[netip.Addr]struct{}
	// heard is peers from which the server let something in. It lets answers out, too.
	heard map[netip.AddrPort]*heard
}

// heard is a peer that sent something by no channel. It gets one once it is answered: a packet
// that WireGuard does not answer may have been a stranger's copy of another one.
type heard struct{ answered atomic.Bool }

// permits reports whether a server relays to a peer. It takes note that one is answered.
func (s *session) permits(t *table, to netip.AddrPort) bool {
	if h := t.heard[to]; h != nil {
		if !h.answered.Load() {
			h.answered.Store(true)
			s.c.wake.Notify()
		}
		return true
	}
	_, ok := t.permitted[to.Addr()]
	return ok
}

// replaceTable makes the table anew from the bindings that are live.
func (s *session) replaceTable() {
	t := &table{map[netip.AddrPort]*binding{}, map[uint16]*binding{}, map[netip.Addr]struct{}{}, nil}
	for _, b := range s.bindings {
		switch {
		case !b.live:
		case b.channel == 0:
			t.permitted[b.peer.Addr()] = struct{}{}
		default:
			t.channels[b.peer] = b
			t.numbers[b.channel] = b
		}
	}
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	t.heard = s.table.Load().heard
	s.table.Store(t)
}

// hear remembers that a peer sent something that came by no channel. Of too many such peers an arbitrary one is forgotten.
func (s *session) hear(from netip.AddrPort) {
	if _, known := s.table.Load().heard[from]; known {
		return
	}
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	t := *s.table.Load()
	peers := maps.Clone(t.heard)
	if peers == nil {
		peers = map[netip.AddrPort]*heard{}
	}
	for other := range peers {
		if len(peers) < maxHeard {
			break
		}
		delete(peers, other)
	}
	peers[from] = &heard{}
	t.heard = peers
	s.table.Store(&t)
}

// forget undoes hear.
func (s *session) forget(peer netip.AddrPort) {
	s.tableMu.Lock()
	defer s.tableMu.Unlock()
	t := *s.table.Load()
	if _, known := t.heard[peer]; known {
		t.heard = maps.Clone(t.heard)
		delete(t.heard, peer)
		s.table.Store(&t)
	}
}
