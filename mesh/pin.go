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

// Bounds on pins. They are needed because anyone who knows the cluster's secret
// can make up node ids.
const (
	maxPins        = 4096
	pinLifetime    = 30 * 24 * time.Hour // after a node was last seen
	pinStep        = 24 * time.Hour      // precision of LastSeen, so that pins seldom change
	maxReached     = 8                   // addresses per pin
	maxGoneNetwork = 1 << 14             // networks of nodes that are gone
)

// PassOnTime is how long a node must have neither a record nor a session until another
// one may have its networks or its EUI-64 address: the longest lifetime of an entry at a
// discovery service.
const PassOnTime = 30 * time.Minute

// Pin records what a node has. What it has, it keeps: a node that comes later with the
// same name, key, address or network does not get it. Names and keys stay with the pin
// until it is forgotten; addresses and networks pass on (see [PassOnTime]).
type Pin struct {
	NodeID    string
	PublicKey Key            // zero: it had no KubeSpan part yet
	Address   netip.Addr     // KubeSpan ULA that is routed to it; zero if none is
	Nodename  string         // that it owns; may be empty
	Networks  []netip.Prefix `json:",omitempty"` // routed to it, its own addresses included; sorted
	Reached   []netip.Addr   `json:",omitempty"` // public addresses of its own at which it has answered
	FirstSeen time.Time
	LastSeen  time.Time // to the day
	Gone      time.Time `json:",omitzero"`  // since when there is neither record nor session
	Static    bool      `json:",omitempty"` // this node's administrator has written it, and it signs nothing

	// Of its newest record. A node with a Sequence is never again taken unsigned, and its
	// key and address may change: its signature, and not they, says who it is.
	Sequence  uint64    `json:",omitempty"`
	Instance  uint64    `json:",omitempty"`
	NextKey   Key       `json:",omitzero"`  // that it has announced, and nobody before it
	Start     uint64    `json:",omitempty"` // the highest: of the instance that started last
	Ephemeral bool      `json:",omitempty"` // the pin ends when the node leaves or is gone
	Left      bool      `json:",omitempty"` // its last record says so
	Cloned    time.Time `json:",omitzero"`  // when two instances were last seen to publish
	CloneAt   string    `json:",omitempty"` // where the one was that started later
}

// gone reports whether the pin's networks and address may pass on.
func (p *Pin) gone(now time.Time) bool {
	return p.Left || !p.Gone.IsZero() && now.Sub(p.Gone) >= PassOnTime
}

// roster is who is who: affiliates compared with pins.
type roster struct {
	local  *Affiliate
	others []*Affiliate          // that can be used, sorted by node id
	byID   map[string]*Affiliate // the others
	listed map[string]bool       // node ids whose record is used, or says that they have left
	barred map[string]bool       // node ids that are quarantined
	silent map[string]bool       // of others: discovery has nothing usable of them, but they have a session
	stats  map[Key]*PeerStats    // what the device reports
	pins   map[string]*Pin
	order  []*Pin                // the pins, first seen first: of two with the same thing, the first has it
	names  map[string]*Affiliate // the owner of each nodename, if it is there

	yielded bool // another node has this node's name
}

// newRoster reads the pins, and removes those whose time has come.
func newRoster(in *Input, local *Affiliate, now time.Time) *roster {
	r := &roster{local: local, pins: make(map[string]*Pin, len(in.Pins)), listed: map[string]bool{}, barred: map[string]bool{}, silent: map[string]bool{}}
	r.stats = make(map[Key]*PeerStats, len(in.Stats))
	for i := range in.Stats {
		r.stats[in.Stats[i].PublicKey] = &in.Stats[i]
	}
	for i := range in.Pins {
		p := in.Pins[i]
		if now.Sub(p.LastSeen) < pinLifetime && !(p.Ephemeral && p.gone(now)) {
			r.pins[p.NodeID] = &p
			r.order = append(r.order, &p)
		}
	}
	slices.SortFunc(r.order, comparePins)
	return r
}

// comparePins orders pins by when their nodes were seen first.
func comparePins(a, b *Pin) int {
	return cmp.Or(a.FirstSeen.Compare(b.FirstSeen), strings.Compare(a.NodeID, b.NodeID))
}

// admit compares affiliates, sorted by node id, with their pins.
func (r *roster) admit(in *Input, affiliates []*Affiliate, now time.Time, cs *conditions) {
	var unsigned []string
	r.expel(in)
	r.accept(in, affiliates, now)
	for _, a := range affiliates {
		p := r.pins[a.NodeID]
		switch {
		case in.Config.Charter.Statement.Expels(a.NodeID):
		case a.Static && p.contradicts(a):
			*cs = append(*cs, StaticRefused(a, p.PublicKey))
		case !a.Static && !a.Record.Signed() && (in.Config.RequireSigned || p != nil && p.Sequence != 0):
			unsigned = append(unsigned, QuoteName(a.displayName()))
		case p != nil && a.Record.Signed() && a.Record.Sequence < p.Sequence:
			cs.about(a, ConditionRecordOld,
				"announces a record that is older than one seen before: not used; a node that was restored from a backup announces a new one within a minute")
		case p != nil && !a.Static && !a.Record.Signed() && p.changedKey(a):
			r.barred[a.NodeID] = true
			cs.about(a, ConditionIdentityChanged,
				"has the public key %s instead of %s, with which it was first seen; it is quarantined; if this change is expected, run: wirespan accept %s",
				a.PublicKey, p.PublicKey, shellWord(a.NodeID))
		default:
			r.take(in, a, now, cs)
		}
	}
	r.dismiss(in)
	r.dropStatic(in)
	r.keepSessions(in, now)
	if !in.Host.DiscoveryPending { // after a restart, all are unknown for a moment
		r.markGone(now)
	}
	sort.Slice(r.others, func(i, j int) bool { return r.others[i].NodeID < r.others[j].NodeID })
	r.byID = make(map[string]*Affiliate, len(r.others))
	for _, a := range r.others {
		r.byID[a.NodeID] = a
	}
	if len(unsigned) > 0 {
		cs.add(ConditionUnsigned, "discovery", "discovery has unsigned records, which this mesh does not use: %s", Listed(unsigned, 3))
	}
}

// contradicts reports whether a static affiliate has another key than a node that signs.
func (p *Pin) contradicts(a *Affiliate) bool {
	return p != nil && p.Sequence != 0 && p.changedKey(a) && p.NextKey != a.PublicKey
}

// StaticRefused is the condition for a static affiliate of a node that signs another key.
func StaticRefused(a *Affiliate, signed Key) Condition {
	return Condition{ConditionStaticRefused, a.displayName(), fmt.Sprintf(
		"the peers file has the public key %s for node %s, which signs its records and has %s: not used; correct the publicKey there",
		a.PublicKey, a.NodeID, signed)}
}

// dropStatic forgets the static peers that the administrator has removed. All that they
// had passes on at once, and a session does not keep them.
func (r *roster) dropStatic(in *Input) {
	if in.StaticUnknown {
		return
	}
	kept := r.order[:0]
	for _, p := range r.order {
		if p.Static && !r.listed[p.NodeID] {
			delete(r.pins, p.NodeID)
		} else {
			kept = append(kept, p)
		}
	}
	r.order = kept
}

// expel lets go of nodes that the mesh's authority has expelled: what they had passes on
// at once.
func (r *roster) expel(in *Input) {
	if len(in.Config.Charter.Statement.Expelled) == 0 {
		return
	}
	for _, p := range r.order {
		if in.Config.Charter.Statement.Expels(p.NodeID) {
			p.leave()
			p.Nodename, p.PublicKey = "", Key{}
		}
	}
}

// accept gives nodes the names that the mesh's authority has said they may have.
func (r *roster) accept(in *Input, affiliates []*Affiliate, now time.Time) {
	for _, accepted := range in.Config.Charter.Statement.Accepted {
		for _, a := range affiliates {
			if named, err := NewAcceptance(a.NodeID, a.Nodename); err != nil || named != accepted || !a.Record.Signed() || in.Config.Charter.Statement.Expels(a.NodeID) {
				continue
			}
			for _, p := range r.order {
				if p.Nodename == a.Nodename {
					p.Nodename = ""
				}
			}
			r.touch(a.NodeID, now).Nodename = a.Nodename
		}
	}
}

// leave gives up what passes on when the node has left.
func (p *Pin) leave() {
	p.Left, p.Networks, p.Reached, p.Address = true, nil, nil, netip.Addr{}
}

// take takes an affiliate that is who it says it is, as far as that can be known.
func (r *roster) take(in *Input, a *Affiliate, now time.Time, cs *conditions) {
	p := r.touch(a.NodeID, now)
	if a.Record.Signed() {
		if a.Record.Start < p.Start && a.Record.Sequence > p.Sequence {
			p.Cloned = now.UTC().Truncate(time.Second)
			for i := range in.Known {
				if in.Known[i].NodeID == a.NodeID {
					p.CloneAt = in.Known[i].FirstEndpoint()
				}
			}
		}
		p.Sequence, p.Instance, p.Start = a.Record.Sequence, a.Record.Instance, max(p.Start, a.Record.Start)
		p.Ephemeral, p.Left = a.Record.Ephemeral, a.Record.Left
		if p.NextKey == a.PublicKey && !a.PublicKey.IsZero() {
			p.PublicKey = a.PublicKey // the key was its own before
		}
		if p.NextKey != a.Record.NextKey {
			p.NextKey = r.unclaimed(in, a)
		}
		if !p.Cloned.IsZero() && now.Sub(p.Cloned) < PassOnTime {
			cs.about(a, ConditionCloned,
				"runs on two hosts, one at %s and one that started later, at %s; give the latter an identity of its own: stop it, and remove %s and %s there",
				a.FirstEndpoint(), cmp.Or(p.CloneAt, "an unknown address"), NodeKeyFile, NodeIdentityFile)
		}
	}
	if !a.Record.Signed() {
		p.Left = false
	}
	r.listed[a.NodeID] = true
	p.Static = a.Static && p.Sequence == 0
	if p.Left {
		p.leave()
		return
	}
	p.Gone = time.Time{}
	r.others = append(r.others, a)
}

// unclaimed returns the next key that a node announces, unless another node has it.
func (r *roster) unclaimed(in *Input, a *Affiliate) Key {
	next := a.Record.NextKey
	for _, p := range r.order {
		if p.NodeID != a.NodeID && (p.PublicKey == next || p.NextKey == next) {
			return Key{}
		}
	}
	for i := range in.Affiliates {
		if o := &in.Affiliates[i]; o.NodeID != a.NodeID && o.PublicKey == next {
			return Key{}
		}
	}
	return next
}

// touch returns the pin of a node that is there now, and makes it if there is none.
func (r *roster) touch(nodeID string, now time.Time) *Pin {
	seen := now.UTC().Truncate(time.Second)
	p := r.pins[nodeID]
	if p == nil {
		p = &Pin{NodeID: nodeID, FirstSeen: seen, LastSeen: seen}
		r.pins[nodeID] = p
		r.order = append(r.order, p)
	}
	if now.Sub(p.LastSeen) >= pinStep {
		p.LastSeen = seen
	}
	return p
}

// FirstEndpoint returns, for messages, where a node most likely is.
func (a *Affiliate) FirstEndpoint() string {
	if len(a.Endpoints) == 0 {
		return "an unknown address"
	}
	return a.Endpoints[0].String()
}

// dismiss lets go of nodes that someone has removed from a registry, and that none has any
// more: their sessions end, and what they had passes on at once.
func (r *roster) dismiss(in *Input) {
	for _, id := range in.Removed {
		if p := r.pins[id]; p != nil && id != r.local.NodeID && !r.listed[id] && !r.barred[id] {
			p.leave()
		}
	}
}

// keepSessions adds nodes of which discovery has nothing usable any more, but which
// have a session: what discovery says, or stops saying, drops no live peer.
func (r *roster) keepSessions(in *Input, now time.Time) {
	for i := range in.Known {
		a := &in.Known[i]
		if p := r.pins[a.NodeID]; r.listed[a.NodeID] || p == nil || p.Left {
			continue
		}
		if r.stats[a.PublicKey].alive(now) {
			r.pins[a.NodeID].Gone = time.Time{}
			r.silent[a.NodeID] = true
			r.others = append(r.others, a)
		}
	}
}

// title returns the node in messages: with its name, if it owns one.
func (r *roster) title(nodeID string) string {
	if p := r.pins[nodeID]; p != nil && p.Nodename != "" {
		return fmt.Sprintf("%q (node %s)", p.Nodename, nodeID)
	}
	return "node " + nodeID
}

func (p *Pin) changedKey(a *Affiliate) bool {
	return !p.PublicKey.IsZero() && !a.PublicKey.IsZero() && p.PublicKey != a.PublicKey
}

// markGone notes which nodes have neither a record nor a session.
func (r *roster) markGone(now time.Time) {
	for id, p := range r.pins {
		if p.Gone.IsZero() && !p.Static && id != r.local.NodeID && !r.listed[id] && !r.silent[id] && !r.barred[id] {
			p.Gone = now.UTC().Truncate(time.Second)
		}
	}
}

// remember returns the pins for the next decision, sorted by node id.
func (r *roster) remember() []Pin {
	// Beyond maxPins the newest are left out: made-up nodes must not displace the pins of
	// real ones. Likewise the networks of nodes that are gone are bounded.
	out := make([]Pin, 0, min(len(r.order), maxPins))
	room := maxGoneNetwork
	for _, p := range r.order[:min(len(r.order), maxPins)] {
		if r.byID[p.NodeID] == nil {
			if room -= len(p.Networks); room < 0 {
				p.Networks, room = nil, 0
			}
		}
		out = append(out, *p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].NodeID < out[j].NodeID })
	return out
}
