package mesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
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
	name       string
	handshakes int
	first      time.Time
	endpoints  []*Attempt // those of the peer, the latest tried first
	refusals   []*Attempt // those of them to which the host does not send
}

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
	byEndpoint, taken := indexAttempts(in.Attempts, known.local.Endpoints, specs, statuses)
	var unanswered, refused []tried
	answers := false // some peer does
	for i := range specs {
		t := newTried(&specs[i], &statuses[i], byEndpoint, taken)
		if len(t.refusals) > 0 {
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
	byName := func(a, b tried) int { return strings.Compare(a.name, b.name) }
	slices.SortStableFunc(unanswered, byName)
	slices.SortStableFunc(refused, byName)
	reportRefused(refused, in.Host.ListenPort, cs)
	if len(unanswered) > 1 && !answers {
		reportNoneAnswers(unanswered, in.Host.ListenPort, cs)
	} else {
		reportSilentPeers(unanswered, cs)
	}
	return wake
}

// indexAttempts returns the attempts by address, and the addresses that are taken: several
// peers have one, and one of them is up there, or it is this node's own.
func indexAttempts(attempts []Attempt, own []netip.AddrPort, specs []PeerSpec, statuses []PeerStatus) (byEndpoint map[netip.AddrPort]*Attempt, taken map[netip.AddrPort]bool) {
	byEndpoint = make(map[netip.AddrPort]*Attempt, len(attempts))
	for i := range attempts {
		byEndpoint[attempts[i].Endpoint] = &attempts[i]
	}
	users, up := map[netip.AddrPort]int{}, map[netip.AddrPort]bool{}
	for i := range specs {
		for _, ep := range endpointsOf(&specs[i], &statuses[i]) {
			users[ep]++
		}
		if s := &statuses[i]; s.State == PeerStateUp {
			up[s.Endpoint] = true
		}
	}
	taken = map[netip.AddrPort]bool{}
	for ep, n := range users {
		taken[ep] = n > 1 && up[ep] || slices.Contains(own, ep)
	}
	return byEndpoint, taken
}

// endpointsOf returns where a peer is, or may be.
func endpointsOf(spec *PeerSpec, status *PeerStatus) []netip.AddrPort {
	all := slices.Clone(spec.Endpoints)
	for _, ep := range []netip.AddrPort{status.Endpoint, status.LastUsedEndpoint} {
		if ep.IsValid() {
			all = appendNew(all, ep)
		}
	}
	return all
}

// newTried returns what was sent to a peer since its last handshake. Peers may have one
// address, as a box that was installed anew and what it was before. Handshakes that were
// started with an address that is taken tell nothing: another node is there.
func newTried(spec *PeerSpec, status *PeerStatus, byEndpoint map[netip.AddrPort]*Attempt, taken map[netip.AddrPort]bool) tried {
	t := tried{name: shortName(cmp.Or(spec.Label, spec.NodeID, spec.PublicKey.String()))}
	all := endpointsOf(spec, status)
	stuck := !slices.ContainsFunc(all, func(ep netip.AddrPort) bool { return byEndpoint[ep] == nil || byEndpoint[ep].Refusal == NotRefused })
	for _, ep := range all {
		a := byEndpoint[ep]
		if a == nil {
			continue
		}
		n, first := a.since(status.LastHandshakeTime)
		if taken[ep] {
			n = 0
		}
		if n > 0 {
			t.handshakes, t.first = t.handshakes+n, sooner(t.first, first)
		}
		if n > 0 || a.Refusal != NotRefused {
			t.endpoints = append(t.endpoints, a)
		}
		if a.concerns(status, stuck) {
			t.refusals = append(t.refusals, a)
		}
	}
	slices.SortStableFunc(t.endpoints, func(a, b *Attempt) int {
		return b.Handshakes[AttemptsKept-1].Compare(a.Handshakes[AttemptsKept-1])
	})
	return t
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
			"neither this node nor %s announces an address, so that none can connect to the other: let addressFilters admit an address of this host, or name one with extraAnnouncedEndpoints", firstFew(list))
	}
}

// reportRefused adds a condition for each error by which the host refuses packets.
func reportRefused(peers []tried, port uint16, cs *conditions) {
	texts := map[string][]string{} // by error: peers with their endpoints
	kinds := map[string]Refusal{}
	for i := range peers {
		by := map[string][]*Attempt{}
		for _, a := range peers[i].refusals {
			by[a.Error] = append(by[a.Error], a)
			kinds[a.Error] = a.Refusal
		}
		for text, list := range by {
			texts[text] = append(texts[text], QuoteName(peers[i].name)+" at "+endpointList(list, false))
		}
	}
	for text, list := range texts {
		cs.add(ConditionSendRefused, text, "this host refuses to send encrypted packets to %s: %s: %s", firstFew(list), text, kinds[text].advice(port))
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
func reportNoneAnswers(peers []tried, port uint16, cs *conditions) {
	var list []string
	for i := range peers {
		list = append(list, QuoteName(peers[i].name)+" at "+endpointList(peers[i].endpoints, true))
	}
	cs.add(ConditionNoAnswer, AllPeers,
		"handshakes go out, but none of %d peers answers: %s; UDP is likely blocked on this node or on its way out: let UDP port %d out, and answers in",
		len(peers), firstFew(list), port)
}

// reportSilentPeers adds a condition for each peer that does not answer.
func reportSilentPeers(peers []tried, cs *conditions) {
	for i := range peers[:min(len(peers), maxUnansweredPeers)] {
		p := &peers[i]
		cs.add(ConditionNoAnswer, p.name,
			"handshakes with %s go out, but it does not answer from %s: UDP is blocked on the way, the address is wrong, or the node is down; let its UDP port in there, or announce another address with extraAnnouncedEndpoints",
			QuoteName(p.name), endpointList(p.endpoints, true))
	}
	if more := len(peers) - maxUnansweredPeers; more > 0 {
		cs.add(ConditionNoAnswer, "more peers", "and %d more peers do not answer: see wirespan status", more)
	}
}

// endpointList names endpoints, with the errors of those that the host refuses.
func endpointList(list []*Attempt, refusals bool) string {
	var out []string
	for _, a := range list[:min(len(list), maxTriedEndpoints)] {
		text := a.Endpoint.String()
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

// firstFew joins texts about peers.
func firstFew(list []string) string {
	text := strings.Join(list[:min(len(list), maxUnansweredPeers)], ", ")
	if more := len(list) - maxUnansweredPeers; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// shortName returns the beginning of a name that may be long.
func shortName(name string) string {
	if r := []rune(name); len(r) > maxNameLength {
		return string(r[:maxNameLength]) + "…"
	}
	return name
}
