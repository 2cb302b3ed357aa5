package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	// A peer does not answer if so many messages of handshakes were sent to it since its
	// last handshake was completed, the first of them answerTime ago or longer. They may
	// be answers: then its messages arrive here, and this node's do not arrive there.
	unansweredHandshakes = 3
	answerTime           = EndpointTimeout
	// Of what conditions tell, so much is named.
	maxUnansweredPeers = 8  // each with a condition of its own, or in one text
	maxTriedEndpoints  = 4  // of one peer
	maxNameLength      = 64 // characters of a peer's name
)

// AllPeers is the subject of a ConditionNoAnswer about all of them.
const AllPeers = "all peers"

// tried is what this node has lately sent to a peer to no avail.
type tried struct {
	spec       *PeerSpec
	status     *PeerStatus
	name       string
	handshakes int
	first      time.Time
	stuck      bool // the host refuses all endpoints of the peer
	refused    bool // it refuses one that matters
}

// place is an address with which there were handshakes, or to which the host does not send.
type place struct {
	*Attempt
	users int  // peers that have the address
	up    bool // one of them is up there, or it is this node's own
}

// taken reports whether handshakes with the address tell nothing, since another node is there.
func (p *place) taken() bool { return p.users > 1 && p.up }

// unanswered reports whether the peer should have answered by now.
func (t *tried) unanswered(now time.Time) bool {
	return t.handshakes >= unansweredHandshakes && now.Sub(t.first) >= answerTime
}

// reportUnanswered adds conditions for peers that this host refuses to send to, and for
// peers that do not answer handshakes although discovery has them. It returns when
// another peer may become one of the latter; zero: never.
func reportUnanswered(in *Input, known *roster, specs []PeerSpec, statuses []PeerStatus, now time.Time, cs *conditions) (wake time.Time) {
	if len(in.Attempts) == 0 {
		return time.Time{}
	}
	places := newPlaces(in.Attempts, known.local.Endpoints, specs, statuses)
	var unanswered, refused []tried
	answers := false // some peer does
	for i := range specs {
		t := newTried(&specs[i], &statuses[i], places)
		if t.refused {
			refused = append(refused, t)
		}
		switch stable := specs[i].NextKey.IsZero() && !statuses[i].NewKey; {
		case stable && known.listed[specs[i].NodeID] && t.unanswered(now):
			unanswered = append(unanswered, t)
		case statuses[i].State == PeerStateUp:
			answers = true
		}
		if due := t.first.Add(answerTime); t.handshakes > 0 && due.After(now) {
			wake = sooner(wake, due)
		}
	}
	sort.SliceStable(unanswered, func(i, j int) bool { return unanswered[i].name < unanswered[j].name })
	sort.SliceStable(refused, func(i, j int) bool { return refused[i].name < refused[j].name })
	reportRefused(refused, places, in.Host.ListenPort, cs)
	if len(unanswered) > 1 && !answers {
		reportNoneAnswers(unanswered, places, in.Host.ListenPort, cs)
	} else {
		reportSilentPeers(unanswered, places, cs)
	}
	return wake
}

// newPlaces returns the addresses of attempts.
func newPlaces(attempts []Attempt, own []netip.AddrPort, specs []PeerSpec, statuses []PeerStatus) map[netip.AddrPort]*place {
	list := make([]place, len(attempts))
	places := make(map[netip.AddrPort]*place, len(attempts))
	for i := range attempts {
		list[i].Attempt = &attempts[i]
		places[attempts[i].Endpoint] = &list[i]
	}
	for _, ep := range own {
		if p := places[ep]; p != nil {
			p.users, p.up = 1, true
		}
	}
	for i := range specs {
		for _, ep := range endpointsOf(&specs[i], &statuses[i]) {
			if p := places[ep]; p != nil {
				p.users++
				p.up = p.up || statuses[i].State == PeerStateUp && statuses[i].Endpoint == ep
			}
		}
	}
	return places
}

// endpointsOf returns where a peer is, or may be.
func endpointsOf(spec *PeerSpec, status *PeerStatus) []netip.AddrPort {
	list := slices.Clip(spec.Endpoints)
	for _, ep := range []netip.AddrPort{status.Endpoint, status.LastUsedEndpoint} {
		if ep.IsValid() {
			list = appendNew(list, ep)
		}
	}
	return list
}

// newTried returns what was sent to a peer since its last handshake. Peers may have one
// address, as a box that was installed anew and what it was before.
func newTried(spec *PeerSpec, status *PeerStatus, places map[netip.AddrPort]*place) tried {
	t := tried{spec: spec, status: status, stuck: true, name: shortName(cmp.Or(spec.Label, spec.NodeID, spec.PublicKey.String()))}
	noRoute := false // to some of them
	for _, ep := range endpointsOf(spec, status) {
		p := places[ep]
		if p == nil || p.Refusal == NotRefused {
			t.stuck = false
		}
		if p == nil {
			continue
		}
		if n, first := p.since(status.LastHandshakeTime); n > 0 && !p.taken() {
			t.handshakes, t.first = t.handshakes+n, sooner(t.first, first)
		}
		t.refused = t.refused || p.concerns(status, false)
		noRoute = noRoute || p.Refusal == RefusedWithoutRoute
	}
	t.refused = t.refused || t.stuck && noRoute && status.State != PeerStateUp
	if p := status.Path; p != nil && t.handshakes > 0 { // the device knows it better
		if t.handshakes, t.first = unansweredHandshakes, p.Troubled; p.Settled || p.Troubled.IsZero() {
			t.handshakes = 0
		}
	}
	return t
}

// endpoints returns the addresses of the peer that were tried since its last handshake, or
// that the host refuses: the latest first.
func (t *tried) endpoints(places map[netip.AddrPort]*place) (list []*Attempt) {
	for _, ep := range endpointsOf(t.spec, t.status) {
		if p := places[ep]; p != nil && (p.Refusal != NotRefused || p.Handshakes[AttemptsKept-1].After(t.status.LastHandshakeTime)) {
			list = append(list, p.Attempt)
		}
	}
	slices.SortStableFunc(list, func(a, b *Attempt) int {
		return b.Handshakes[AttemptsKept-1].Compare(a.Handshakes[AttemptsKept-1])
	})
	return list
}

// since returns how many handshakes are known after a time, and the first of them.
func (a *Attempt) since(t time.Time) (n int, first time.Time) {
	for _, at := range slices.Backward(a.Handshakes[:]) {
		if at.IsZero() || !at.After(t) {
			break
		}
		n, first = n+1, at
	}
	return n, first
}

// concerns reports whether a refusal keeps this node from a peer. If the peer is up, that
// of its present endpoint does. Of one that is not, an endpoint without a route means
// little as long as there are others: this host may lack IPv6. Stuck says there are none.
func (a *Attempt) concerns(status *PeerStatus, stuck bool) bool {
	switch {
	case a.Refusal == NotRefused:
		return false
	case status.State == PeerStateUp:
		return a.Endpoint == status.Endpoint
	}
	return stuck || a.Refusal != RefusedWithoutRoute
}

// reportNoEndpoint adds a condition if this node announces no endpoint and there are peers
// that announce none either: neither side can start a handshake.
func reportNoEndpoint(local *Affiliate, specs []PeerSpec, statuses []PeerStatus, cs *conditions) {
	if len(local.Endpoints) > 0 {
		return
	}
	var list []string
	for i := range specs {
		if len(specs[i].Endpoints) == 0 && statuses[i].State != PeerStateUp && !statuses[i].Endpoint.IsValid() {
			list = append(list, QuoteName(shortName(cmp.Or(specs[i].Label, specs[i].NodeID))))
		}
	}
	if len(list) > 0 {
		slices.Sort(list)
		cs.add(ConditionNoEndpoint, local.NodeID,
			"neither this node nor %s announces an address, so that none can connect to the other: let addressFilters admit an address of this host, or name one with extraAnnouncedEndpoints", firstFew(list, len(list)))
	}
}

// reportRefused adds a condition for each error by which the host refuses packets.
func reportRefused(peers []tried, places map[netip.AddrPort]*place, port uint16, cs *conditions) {
	texts := map[string][]string{} // by error: peers with their endpoints
	kinds := map[string]Refusal{}
	for i := range peers {
		by := map[string][]*Attempt{}
		for _, a := range peers[i].endpoints(places) {
			if a.concerns(peers[i].status, peers[i].stuck) {
				by[a.Error] = append(by[a.Error], a)
				kinds[a.Error] = a.Refusal
			}
		}
		for text, list := range by {
			texts[text] = append(texts[text], QuoteName(peers[i].name)+" at "+endpointList(list, false))
		}
	}
	for text, list := range texts {
		cs.add(ConditionSendRefused, text, "this host refuses to send encrypted packets to %s: %s: %s", firstFew(list, len(list)), text, kinds[text].advice(port))
	}
}

// advice says what mends it.
func (r Refusal) advice(port uint16) string {
	switch r {
	case RefusedByFirewall:
		return fmt.Sprintf("a rule of its firewall drops what goes out: accept UDP from port %d (see nft list ruleset, iptables-save), or an IPAddressDeny= of the agent's unit does", port)
	case RefusedByRoute:
		return "a prohibit or blackhole route leads there: see ip route get ADDRESS and ip rule"
	}
	return "no route leads there, or one that is unreachable: add one, or a default route (see ip route get ADDRESS)"
}

// reportNoneAnswers adds the condition of a node which no peer answers.
func reportNoneAnswers(peers []tried, places map[netip.AddrPort]*place, port uint16, cs *conditions) {
	var list []string
	for i := range peers[:min(len(peers), maxUnansweredPeers)] {
		list = append(list, QuoteName(peers[i].name)+" at "+endpointList(peers[i].endpoints(places), true))
	}
	cs.add(ConditionNoAnswer, AllPeers,
		"handshakes go out, but none of %d peers answers: %s; UDP is likely blocked on this node or on its way out: let UDP port %d out, and answers in",
		len(peers), firstFew(list, len(peers)), port)
}

// reportSilentPeers adds a condition for each peer that does not answer.
func reportSilentPeers(peers []tried, places map[netip.AddrPort]*place, cs *conditions) {
	for i := range peers[:min(len(peers), maxUnansweredPeers)] {
		p := &peers[i]
		cs.add(ConditionNoAnswer, p.name,
			"handshakes with %s go out, but it does not answer from %s: UDP is blocked on the way, the address is wrong, or the node is down; let its UDP port in there, or announce another address with extraAnnouncedEndpoints",
			QuoteName(p.name), endpointList(p.endpoints(places), true))
	}
	if more := len(peers) - maxUnansweredPeers; more > 0 {
		cs.add(ConditionNoAnswer, "more peers", "and %d more peers do not answer: see wirespan status", more)
	}
}

// endpointList names endpoints, with the errors of those that the host refuses.
func endpointList(list []*Attempt, refusals bool) string {
	var out []string
	for _, a := range list[:min(len(list), maxTriedEndpoints)] {
		text := EndpointText(a.Endpoint)
		if refusals && a.Error != "" {
			text += " (" + a.Error + ")"
		}
		out = append(out, text)
	}
	if more := len(list) - maxTriedEndpoints; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, " and ")
}

// firstFew joins texts about peers, of which there are so many in all.
func firstFew(list []string, all int) string {
	text := strings.Join(list[:min(len(list), maxUnansweredPeers)], ", ")
	if more := all - maxUnansweredPeers; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// shortName returns the beginning of a name that may be long.
func shortName(name string) string {
	if len(name) <= maxNameLength {
		return name
	}
	if r := []rune(name); len(r) > maxNameLength {
		return string(r[:maxNameLength]) + "…"
	}
	return name
}
