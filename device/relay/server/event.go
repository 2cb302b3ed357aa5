package server

import (
	"net"
	"net/netip"

	"github.com/pion/logging"
	pion "github.com/pion/turn/v5"
)

// events has allocations follow what pion keeps of them.
func (s *Server) events() pion.EventHandler {
	return pion.EventHandler{
		OnAllocationCreated: func(src, _ net.Addr, _, _, _ string, relayed net.Addr, _ int) {
			if a := s.at(relayed); a != nil {
				a.open(addrPortOf(src))
			}
		},
		OnPermissionCreated: func(_, _ net.Addr, _, _, _ string, relayed net.Addr, peer net.IP) {
			s.permission(relayed, peer, func(a *allocation, addr netip.Addr) { a.permitted[addr] = struct{}{} })
		},
		OnPermissionDeleted: func(_, _ net.Addr, _, _, _ string, relayed net.Addr, peer net.IP) {
			s.permission(relayed, peer, func(a *allocation, addr netip.Addr) { delete(a.permitted, addr) })
		},
		OnChannelCreated: func(_, _ net.Addr, _, _, _ string, relayed, peer net.Addr, number uint16) {
			if a, p := s.at(relayed), addrPortOf(peer); a != nil {
				a.mu.Lock()
				a.channels[number], a.peers[p] = p, number
				a.mu.Unlock()
			}
		},
		OnChannelDeleted: func(_, _ net.Addr, _, _, _ string, relayed, peer net.Addr, number uint16) {
			if a := s.at(relayed); a != nil {
				a.mu.Lock()
				delete(a.channels, number)
				delete(a.peers, addrPortOf(peer))
				a.mu.Unlock()
			}
		},
	}
}

// at returns the allocation at a relayed address.
func (s *Server) at(relayed net.Addr) *allocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.live[addrPortOf(relayed)]
}

func (s *Server) permission(relayed net.Addr, peer net.IP, do func(*allocation, netip.Addr)) {
	a := s.at(relayed)
	addr, ok := netip.AddrFromSlice(peer)
	if a == nil || !ok {
		return
	}
	a.mu.Lock()
	do(a, addr.Unmap())
	a.mu.Unlock()
}

// open tells an allocation who its client is.
func (a *allocation) open(client netip.AddrPort) {
	f := a.front
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.ended { // its owner was expelled meanwhile
		return
	}
	a.client.Store(&client)
	a.writer = f.writer
	if st := f.streams[client]; st != nil {
		a.writer = st
	}
	f.clients[client] = a
}

// silent is a logger that says nothing: what strangers send is not worth a line each.
type silent struct{}

func (silent) NewLogger(string) logging.LeveledLogger { return silent{} }

func (silent) Trace(string)          {}
func (silent) Tracef(string, ...any) {}
func (silent) Debug(string)          {}
func (silent) Debugf(string, ...any) {}
func (silent) Info(string)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Warn(string)           {}
func (silent) Warnf(string, ...any)  {}
func (silent) Error(string)          {}
func (silent) Errorf(string, ...any) {}
