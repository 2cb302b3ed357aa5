package mesh

import (
	"net/netip"
	"slices"
	"sort"
	"time"
)

// connectionState returns the state of a peer at the time now, by its last
// handshake and its last change of endpoint.
//
//	endpoint change        +15 s                      +275 s
//	       |  unknown        |  down                     |  down
//	       |  up, if a handshake came after the change   |  up, if one came
//	       |                                             |  in the last 275 s
//
// A peer that was never given an endpoint counts as changed long ago: it is up as
// long as the peer starts handshakes, else unknown rather than down.
//
// If the device chooses the path, it knows more: the peer is up as long as the path works,
// and down once the device has tried for 15 s.
func (s *PeerStatus) connectionState(now time.Time) PeerState {
	if s.Path != nil {
		return s.pathState(now)
	}
	sinceHandshake := now.Sub(s.LastHandshakeTime)
	sinceChange := now.Sub(s.LastEndpointChange)

	state := PeerStateDown
	switch {
	case sinceChange > PeerDownInterval:
		if sinceHandshake < PeerDownInterval {
			state = PeerStateUp
		}
	case s.LastHandshakeTime.After(s.LastEndpointChange):
		state = PeerStateUp
	case sinceChange < EndpointTimeout:
		state = PeerStateUnknown
	}
	if state == PeerStateDown && !s.LastUsedEndpoint.IsValid() {
		state = PeerStateUnknown
	}
	return state
}

// pathState returns the state of a peer whose path the device chooses. A path that is in
// doubt for a moment changes nothing.
func (s *PeerStatus) pathState(now time.Time) PeerState {
	switch {
	case s.Path.Settled:
		return PeerStateUp
	case !s.Path.Troubled.IsZero() && now.Sub(s.Path.Troubled) >= EndpointTimeout:
		return PeerStateDown
	case s.State == PeerStateUp || s.State == PeerStateDown && !s.Path.Troubled.IsZero():
		return s.State
	}
	return PeerStateUnknown
}

// nextEndpoint returns the endpoint to try next for a peer that is down or was
// never given one: the endpoint after the last used one in the list, which starts
// over at its end. If the only endpoint is already in use there is none; if the
// peer roamed away from it, it is tried again.
func (s *PeerStatus) nextEndpoint(list []netip.AddrPort) (netip.AddrPort, bool) {
	if s.State != PeerStateDown && s.LastUsedEndpoint.IsValid() || len(list) == 0 {
		return netip.AddrPort{}, false
	}
	if !s.LastUsedEndpoint.IsValid() {
		return list[0], true
	}
	if len(list) == 1 && list[0] == s.LastUsedEndpoint && list[0] == s.Endpoint {
		return netip.AddrPort{}, false
	}
	next := slices.Index(list, s.LastUsedEndpoint) + 1 // 0 if the list lacks it
	return list[next%len(list)], true
}

// wake returns the first time after now at which the state changes without any
// event; zero if there is none.
func (s *PeerStatus) wake(now time.Time) time.Time {
	const past = time.Nanosecond // beyond a boundary that belongs to the earlier state
	boundaries := [...]time.Time{
		s.LastEndpointChange.Add(EndpointTimeout),
		s.LastEndpointChange.Add(PeerDownInterval + past),
		s.LastHandshakeTime.Add(PeerDownInterval),
	}
	if s.Path != nil {
		if s.Path.Troubled.IsZero() {
			return time.Time{}
		}
		boundaries = [...]time.Time{s.Path.Troubled.Add(EndpointTimeout), {}, {}}
	}
	var first time.Time
	for _, t := range boundaries {
		if t.After(now) && s.connectionState(t) != s.State {
			first = sooner(first, t)
		}
	}
	return first
}

// WakeAt has the loop decide again at a time, if that is before the plan's Wake; zero: never.
func (p *Plan) WakeAt(t time.Time) { p.Wake = sooner(p.Wake, t) }

// sooner returns the earlier of two times; a zero time means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// observe returns the status and the device configuration of every peer, in the
// order of specs: it takes over the device's counters, derives the state, and
// chooses a new endpoint where one is due.
func observe(in *Input, known *roster, specs []PeerSpec, now time.Time) ([]PeerStatus, []PeerConfig) {
	previous := make(map[Key]*PeerStatus, len(in.Previous))
	for i := range in.Previous {
		previous[in.Previous[i].PublicKey] = &in.Previous[i]
	}
	former := formerKeys(in)
	offers := offeredRelays(append(slices.Clip(known.others), known.local), known.names)
	statuses := make([]PeerStatus, len(specs))
	peers := make([]PeerConfig, len(specs), len(specs)+maxPrepared)
	for i := range specs {
		spec := &specs[i]
		status := &statuses[i]
		key := spec.PublicKey // of the device's peer
		if old := previous[key]; old != nil {
			*status = *old
		} else if old := previous[former[spec.NodeID]]; old != nil && known.stats[key] != nil {
			*status = *old // the device had the key before it was the node's
			status.NewKey = true
		}
		if next := spec.NextKey; switched(known.stats[next]) {
			key, status.NewKey = next, true
		}
		status.PublicKey, status.Label = spec.PublicKey, spec.Label
		if status.sequence != spec.sequence || status.news.IsZero() {
			status.sequence, status.news = spec.sequence, now
		}
		status.update(known.stats[key], now)
		status.Relay = relayOf(spec, status.Endpoint, offers)
		status.State = status.connectionState(now)
		secret := in.presharedKey(spec, status, now)
		peers[i] = PeerConfig{
			PublicKey:           key,
			PresharedKey:        secret,
			AllowedIPs:          slices.Clone(spec.AllowedIPs),
			PersistentKeepalive: PersistentKeepalive,
		}
		if in.Config.Cycle {
			peers[i].Endpoint = status.direct(spec.Endpoints, now)
		} else {
			peers[i].Race, peers[i].Address, peers[i].Sequence = true, spec.Address, spec.sequence
			peers[i].Candidates = candidates(in, spec, offers)
		}
		if next := spec.NextKey; !next.IsZero() {
			other := PeerConfig{PublicKey: next, PresharedKey: secret, Standby: true}
			if key == next { // packets may still be on their way through the old peer
				other.PublicKey, other.Standby = spec.PublicKey, false
			}
			peers = append(peers, other)
		}
	}
	sort.Slice(peers, func(i, j int) bool { return peers[i].PublicKey.Compare(peers[j].PublicKey) < 0 })
	return statuses, peers
}

// alive reports whether the device has a session with the peer; s is nil if it has no such one.
func (s *PeerStats) alive(now time.Time) bool {
	return s != nil && !s.LastHandshakeTime.IsZero() && now.Sub(s.LastHandshakeTime) < PeerDownInterval
}

// formerKeys returns the keys of nodes in the last decision that had announced others.
func formerKeys(in *Input) map[string]Key {
	former := map[string]Key{}
	for i := range in.Known {
		if a := &in.Known[i]; !a.Record.NextKey.IsZero() {
			former[a.NodeID] = a.PublicKey
		}
	}
	return former
}

// update takes over what the device reports. For a peer that the device lacks,
// stats is nil: it keeps its history but has no endpoint. If the peer has changed its key,
// its last handshake with the old one counts until it completes one with the new.
func (s *PeerStatus) update(stats *PeerStats, now time.Time) {
	if stats == nil {
		s.Endpoint = netip.AddrPort{}
		return
	}
	s.Path = stats.Path
	s.Endpoint = Plain(stats.Endpoint)
	if s.Path != nil && s.Endpoint.IsValid() && s.Endpoint != s.LastUsedEndpoint {
		s.LastUsedEndpoint, s.LastEndpointChange = s.Endpoint, now
	}
	s.ReceiveBytes, s.TransmitBytes = stats.ReceiveBytes, stats.TransmitBytes
	if s.NewKey = s.NewKey && stats.LastHandshakeTime.IsZero(); !s.NewKey {
		s.LastHandshakeTime = stats.LastHandshakeTime
	}
}

// direct returns the endpoint to give to the device: the next one to try, or the
// last used if the device has none, as after it was reopened. Otherwise it is zero:
// the device has the right endpoint, or the peer has roamed. Talos also sends the
// endpoint that the device has, and so rewrites its configuration at every tick.
func (s *PeerStatus) direct(list []netip.AddrPort, now time.Time) netip.AddrPort {
	if next, ok := s.nextEndpoint(list); ok {
		s.Endpoint, s.LastUsedEndpoint = next, next
		s.LastEndpointChange = now
		s.State = PeerStateUnknown
		return next
	}
	if !s.Endpoint.IsValid() {
		return s.LastUsedEndpoint
	}
	return netip.AddrPort{}
}
