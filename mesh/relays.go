package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	// A node whose NAT may be in the way asks for a relay when it has tried a peer for so
	// long. Of two other nodes that have never reached each other one asks after
	// relayPatienceOpen, and then the other one: the first may be one that uses no relays.
	relayPatience       = 3 * time.Second
	relayPatienceOpen   = 10 * time.Second
	relayPatienceLast   = 20 * time.Second
	relayLinger         = time.Minute // for which relays are kept after the last need
	relaysWanted        = 2           // at once: if one dies, the other is there
	maxRelays           = 8           // that the device may choose from
	maxRelayPeers       = 256         // whose addresses relays are told
	maxRelayedEndpoints = 3           // of a peer, to be tried by each relay

	// A peer that relays do not help either is likely gone. They are tried for relayTrial in
	// each relayRetry, and from the start when there is something new.
	relayTrial = 2 * time.Minute
	relayRetry = 15 * time.Minute
)

// RelayNeed is what the next decision has to know of relays.
type RelayNeed struct {
	Last    time.Time // when this node last needed one; zero: never, or long ago
	Offers  uint64    // a hash of the names of the relays that there are
	Offered time.Time // since when there are these
}

// relaying decides which relays this node uses, and whom they let in. It returns when it may
// decide otherwise; zero: never.
func (plan *Plan) relaying(in *Input, known *roster, now time.Time) (wake time.Time) {
	if !in.Config.UseRelays || in.Config.Cycle {
		return time.Time{}
	}
	relays := relaysFor(in, known)
	n := &plan.RelayNeed
	*n = in.RelayNeed
	if offers := hashOfRelays(relays); n.Offers != offers || n.Offered.IsZero() {
		n.Offers, n.Offered = offers, now
	}
	for i := range plan.Statuses {
		needed, next := plan.needsRelay(in, i, now)
		if wake = sooner(wake, next); needed {
			n.Last = now
		}
	}
	until := n.Last.Add(relayLinger)
	if n.Last.IsZero() || !now.Before(until) {
		n.Last = time.Time{}
		return wake
	}
	plan.Relays = RelayWish{Relays: relays, Want: relaysWanted, Peers: relayPeers(relays, plan.Specs, plan.Statuses)}
	return sooner(wake, until)
}

func hashOfRelays(relays []Relay) uint64 {
	h := uint64(1)
	for _, r := range relays {
		h = mix(h ^ hashOf(r.Name))
	}
	return h
}

// needsRelay reports whether a peer needs a relay of this node, and when that may change.
func (plan *Plan) needsRelay(in *Input, i int, now time.Time) (needed bool, wake time.Time) {
	s := &plan.Statuses[i]
	if s.Path == nil {
		return false, time.Time{}
	}
	if s.Path.Settled {
		_, relay := Direct(s.Endpoint)
		return relay != "", time.Time{}
	}
	due := in.relayDue(s)
	if due.IsZero() {
		return false, time.Time{}
	}
	due = latest(due, s.news, plan.RelayNeed.Offered)
	if due.After(now) {
		return false, due
	}
	round := now.Sub(due) % relayRetry
	if round < relayTrial {
		return true, now.Add(relayTrial - round)
	}
	return false, now.Add(relayRetry - round)
}

func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// relayDue returns from when on a peer without a path that works needs a relay; zero: it does
// not. A peer that a node with a good NAT, or one that relays itself, has reached before is likely
// gone.
func (in *Input) relayDue(s *PeerStatus) time.Time {
	p := s.Path
	switch {
	case p.Troubled.IsZero():
		return time.Time{}
	case in.Host.RelayPort == 0 && in.Host.Mapping != BehaviourNone && in.Host.Mapping != BehaviourEndpointIndependent:
		return p.Troubled.Add(relayPatience)
	case !s.LastHandshakeTime.IsZero():
		return time.Time{}
	case in.Self.PublicKey.Compare(s.PublicKey) < 0:
		return p.Troubled.Add(relayPatienceOpen)
	}
	return p.Troubled.Add(relayPatienceLast)
}

// relaysFor returns the relays that others offer, in an order that differs from node to node.
// Servers that the configuration names come first.
func relaysFor(in *Input, known *roster) (out []Relay) {
	for _, s := range in.Config.RelayServers {
		out = append(out, Relay{Name: s.String(), Other: s})
	}
	self := hashOf(in.Self.NodeID)
	offers := offeredRelays(known.others, known.names)
	sort.Slice(offers, func(i, j int) bool { return mix(self^hashOf(offers[i].NodeID)) < mix(self^hashOf(offers[j].NodeID)) })
	return bounded(append(out, offers...), maxRelays)
}

// offeredRelays returns the relays of nodes, in their order. A relay is reached at the public
// addresses of its node.
func offeredRelays(nodes []*Affiliate, names map[string]*Affiliate) (out []Relay) {
	for _, a := range nodes {
		if a.Record.Relay == 0 || a.PublicKey.IsZero() {
			continue
		}
		r := Relay{Name: a.label(names), NodeID: a.NodeID, Family6: true, Networks: a.Record.RelayNetworks}
		for _, ep := range bounded(a.Endpoints, maxPeerEndpoints) {
			ip := ep.Addr().Unmap()
			if !r.Reaches(ip) || slices.Contains(a.Record.Relayed, ep) {
				continue
			}
			r.Servers = appendNew(r.Servers, netip.AddrPortFrom(ip, a.Record.Relay))
			r.Family6 = r.Family6 && ip.Is6()
		}
		if len(r.Servers) > 0 {
			sort.SliceStable(r.Servers, func(i, j int) bool { return r.Servers[i].Addr().BitLen() < r.Servers[j].Addr().BitLen() })
			out = append(out, r)
		}
	}
	return out
}

// relayPeers returns the endpoints of the peers without a direct path, sorted. Of each peer the
// first ones are taken before others' second ones.
func relayPeers(relays []Relay, specs []PeerSpec, statuses []PeerStatus) (out []netip.AddrPort) {
	for round := range maxPeerEndpoints {
		more := false
		for i := range specs {
			if statuses[i].Path != nil && statuses[i].Path.Settled && statuses[i].Relay == "" {
				continue
			}
			if list := specs[i].Endpoints; round < len(list) && len(out) < maxRelayPeers {
				more = true
				if slices.ContainsFunc(relays, func(r Relay) bool { return r.Reaches(list[round].Addr()) }) {
					out = appendNew(out, list[round])
				}
			}
		}
		if !more {
			break
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Compare(out[j]) < 0 })
	return out
}

// relayCandidates returns the endpoints of a peer as this node's relays reach them. A path by one
// relay is like another, whichever side has asked for it: a path that works is not left for one
// that may lose more. Only a path by two relays is left for one by one.
func relayCandidates(in *Input, spec *PeerSpec, offers []Relay) (out []Candidate) {
	for _, r := range in.Host.Relays {
		var relay Relay // another server reaches public addresses
		if i := slices.IndexFunc(offers, func(o Relay) bool { return o.Name == r.Relay }); i >= 0 {
			relay = offers[i]
		}
		left := maxRelayedEndpoints
		for _, ep := range spec.Endpoints {
			if r.Relayed.IsValid() && left > 0 && relay.Reaches(ep.Addr()) && ep.Addr().Is4() == r.Relayed.Addr().Is4() {
				rank := rankRelayed
				if slices.Contains(spec.relayed, ep) {
					rank = rankRelayedTwice
				}
				out = append(out, Candidate{Via(ep, r.Relay), rank})
				left--
			}
		}
	}
	return out
}

// relayedEndpoints returns the addresses at which relays take packets for this node, by their word.
// Of two on one relay the more wanted one is first.
func relayedEndpoints(in *Input) (out []netip.AddrPort) {
	for _, r := range in.Host.Relays {
		for _, at := range []netip.AddrPort{r.Relayed, r.Former} {
			if r.Permitted && reachable(at.Addr()) {
				out = appendNew(out, at)
			}
		}
	}
	return out
}

// relayOf returns the relay by which a peer is reached: this node's or the peer's; empty for a
// direct path.
func relayOf(spec *PeerSpec, at netip.AddrPort, offers []Relay) string {
	if _, own := Direct(at); own != "" {
		return own
	}
	if !slices.Contains(spec.relayed, at) {
		return ""
	}
	for i := range offers {
		if slices.ContainsFunc(offers[i].Servers, func(s netip.AddrPort) bool { return s.Addr() == at.Addr() }) {
			return offers[i].Name
		}
	}
	return "relay " + at.Addr().String()
}

// reportRelays adds a condition if peers need a relay and none works.
func reportRelays(in *Input, plan *Plan, now time.Time, cs *conditions) {
	var peers []string
	for i := range plan.Statuses {
		s := &plan.Statuses[i]
		if needed, _ := plan.needsRelay(in, i, now); s.State == PeerStateDown && needed {
			peers = append(peers, QuoteName(cmp.Or(s.Label, plan.Specs[i].NodeID)))
		}
	}
	if len(peers) == 0 || len(relayedEndpoints(in)) > 0 {
		return
	}
	slices.Sort(peers)
	if len(plan.Relays.Relays) == 0 {
		cs.add(ConditionNoRelay, in.localName(),
			"no packet gets through between this node and %s, and no member offers a relay: set relay: offer on a member with a public address, or relayServers here",
			firstFew(peers, len(peers)))
		return
	}
	var why []string
	for _, r := range in.Host.Relays {
		if r.Error != "" {
			why = append(why, QuoteName(r.Relay)+": "+r.Error)
		}
	}
	if len(why) > 0 {
		cs.add(ConditionNoRelay, in.localName(), "no packet gets through between this node and %s, and no relay gives an address: %s",
			firstFew(peers, len(peers)), strings.Join(why, "; "))
	}
}
