package relay

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/device/relay/turn"
)

// Times of permissions and channels, which servers keep for 5 and 10 minutes.
const (
	renewAfter  = 4 * time.Minute
	refusedWait = time.Minute
	silentWait  = 5 * time.Second
	// idleAfter is how long a channel is kept for a peer that was not named.
	idleAfter = 5 * time.Minute
	// reuseAfter is how long a channel's number is not used for another peer.
	reuseAfter = 16 * time.Minute
)

// maxInFlight is how many permissions and channels are asked for at the same time.
const maxInFlight = 16

// binding is a permission or, with a number, a channel. Its fields are the loop's; peer and
// channel never change, and active may be set by anyone.
type binding struct {
	peer    netip.AddrPort // of a permission without a port
	channel uint16

	active    atomic.Bool // was used since the loop has looked
	used      time.Time
	live      bool
	refused   bool
	asked     bool
	confirmed time.Time // when the server last agreed
	due       time.Time // when it is asked for
}

func (b *binding) confirm(now time.Time) {
	b.live, b.refused, b.asked = true, false, false
	b.confirmed, b.due = now, now.Add(renewAfter)
}

// refuse takes that a server refused or kept silent. What it agreed to before holds until it
// ends.
func (b *binding) refuse(now time.Time, wait time.Duration) {
	b.asked, b.due = false, now.Add(wait)
	if wait == refusedWait {
		b.live, b.refused = false, true
	}
}

// bind asks for permissions and channels that are due, and returns when the next one is.
func (s *session) bind(now time.Time) (next time.Time) {
	keep := s.keep(now)
	flying, ended := 0, false
	for _, b := range s.bindings {
		if b.asked {
			flying++
		}
		if b.live && now.Sub(b.confirmed) >= renewAfter+time.Minute {
			b.live, ended = false, true
		}
	}
	if ended {
		s.replaceTable()
	}
	next = now.Add(time.Minute)
	ask := func(b *binding, method int) {
		switch {
		case b == nil || b.asked:
		case now.Before(b.due):
			next = earlier(next, b.due)
		case flying < maxInFlight:
			flying++
			b.asked = true
			s.ask(&request{method: method, binding: b}, now)
			next = earlier(next, now.Add(firstInterval))
		}
	}
	for _, p := range keep { // permissions first: they let a peer's first packet in
		ask(s.at(netip.AddrPortFrom(p.Addr(), 0), now), turn.CreatePermission)
	}
	for _, p := range keep {
		if permission := s.bindings[netip.AddrPortFrom(p.Addr(), 0)]; permission != nil && permission.live {
			ask(s.at(p, now), turn.ChannelBind)
		}
	}
	return next
}

// keep returns the peers that want a channel: those named, and those
// that were heard and answered lately.
func (s *session) keep(now time.Time) []netip.AddrPort {
	wanted := s.c.wanted()
	keep := wanted[:len(wanted):len(wanted)]
	for peer, h := range s.table.Load().heard {
		if !h.answered.Load() {
			continue
		}
		b := s.at(peer, now)
		if b != nil && b.active.Swap(false) {
			b.used = now
		}
		if b == nil || now.Sub(b.used) >= idleAfter {
			s.forget(peer)
			continue
		}
		keep = append(keep, peer)
	}
	return keep
}

// at returns the binding of a peer, or makes one; nil if no channel is left.
func (s *session) at(peer netip.AddrPort, now time.Time) *binding {
	b := s.bindings[peer]
	if b != nil {
		return b
	}
	b = &binding{peer: peer, used: now, due: now}
	if peer.Port() != 0 {
		if b.channel = s.number(now); b.channel == 0 {
			return nil
		}
	}
	s.bindings[peer] = b
	return b
}

// number returns a channel number that no peer has had lately; 0 if there is none. It forgets
// bindings that ended long ago.
func (s *session) number(now time.Time) uint16 {
	taken := map[uint16]bool{}
	for peer, b := range s.bindings {
		if !b.live && !b.asked && now.Sub(b.confirmed) >= reuseAfter && now.Sub(b.used) >= reuseAfter {
			delete(s.bindings, peer)
			continue
		}
		taken[b.channel] = true
	}
	for range turn.MaxChannel - turn.MinChannel + 1 {
		s.channel++
		if s.channel > turn.MaxChannel {
			s.channel = turn.MinChannel
		}
		if !taken[s.channel] {
			return s.channel
		}
	}
	return 0
}
