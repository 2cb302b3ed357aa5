package mesh

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// A node changes its WireGuard key while packets pass:
//
//	the rotating node                          a peer
//	announces its next key               →     adds a peer with it, which has no networks,
//	                                           and says that it is prepared
//	waits until all peers are prepared   ←
//	takes the key, starts handshakes     →     gives that peer the networks, and then answers
//	sends what waited for the answer     ←
//	when all have answered, announces
//	it as its key                        →     knows it as the node's only key
//
// So the answer to the handshake is the confirmation. Until then WireGuard holds the
// packets to the peer; those from the peer still pass in the old session.

const (
	// rotationWindow is how long a node waits for peers that are not prepared.
	rotationWindow = 5 * time.Minute
	// answerWindow is how long it waits after that for peers that do not answer.
	answerWindow = 2 * time.Second
	// maxPrepared is how many nodes a node is prepared for at once. Others that change
	// their keys meanwhile wait.
	maxPrepared = 16
)

// KeyTag is the beginning of a public key.
type KeyTag [8]byte

// Tag returns the key's tag.
func (k Key) Tag() KeyTag { return KeyTag(k[:len(KeyTag{})]) }

// Rotation is the state of the change of this node's WireGuard key.
type Rotation struct {
	Due       time.Time // when to make the next key; zero: never
	Next      Key       // the key to change to; zero: there is none yet
	Announced time.Time // since when discovery has shown it in this node's record; zero: it has not

	// Of the last change, until it is announced.
	Former   Key // zero: it is announced
	Switched time.Time
}

// RotationStep is what to do about the change of this node's WireGuard key.
type RotationStep int

// Steps of a rotation.
const (
	RotationNone   RotationStep = iota
	RotationBegin               // make a next key
	RotationSwitch              // use it
)

// RotationDue returns when a key that is used since a time is to be changed. Nodes with
// the same interval do so at different times.
func RotationDue(nodeID string, since time.Time, every time.Duration) time.Time {
	sum := sha256.Sum256([]byte(nodeID))
	spread := max(every/10, 1)
	return since.Add(every + time.Duration(binary.BigEndian.Uint64(sum[:])>>1)%spread)
}

// rotate decides about the change of this node's key. Unprepared are the peers with a
// session that may lose packets. Of two nodes that are ready at the same time the one
// with the lower node id goes first, since neither could answer the other.
func rotate(in *Input, known *roster, specs []PeerSpec, statuses []PeerStatus, now time.Time) (step RotationStep, unprepared []string, wake time.Time) {
	r := &in.Rotation
	switch {
	case !r.Former.IsZero():
		return RotationNone, nil, time.Time{}
	case r.Next.IsZero() && !r.Due.IsZero() && now.Before(r.Due):
		return RotationNone, nil, r.Due
	case r.Next.IsZero() && !r.Due.IsZero():
		return RotationBegin, nil, time.Time{}
	case r.Next.IsZero() || r.Announced.IsZero():
		return RotationNone, nil, time.Time{}
	}
	end := r.Announced.Add(rotationWindow)
	if known.claimed(r.Next) { // by a node that wants to cut this one off
		if now.Before(end) {
			return RotationNone, nil, end
		}
		return RotationBegin, nil, time.Time{}
	}
	wait := false
	for i := range specs {
		if statuses[i].State != PeerStateUp {
			continue
		}
		record := &known.byID[specs[i].NodeID].Record
		if !slices.Contains(record.Prepared, r.Next.Tag()) {
			unprepared = append(unprepared, cmp.Or(specs[i].Label, specs[i].NodeID))
			wait = wait || record.Signed()
		}
		if next := specs[i].NextKey; !next.IsZero() {
			wait = wait || specs[i].NodeID < in.Self.NodeID || switched(known.stats[next])
		}
	}
	if wait && now.Before(end) {
		return RotationNone, nil, end
	}
	slices.Sort(unprepared)
	return RotationSwitch, unprepared, time.Time{}
}

// claimed reports whether another node announces a key as its own, or as its next one.
func (r *roster) claimed(k Key) bool {
	return slices.ContainsFunc(r.others, func(a *Affiliate) bool { return a.PublicKey == k || a.Record.NextKey == k })
}

// announceKeys adds to this node's record what concerns keys. After a change, the new key
// is announced as the next one until the peers that are prepared have answered: they must
// not learn of it by the record before the last packets of the old session have come. And
// they must not change theirs meanwhile.
func announceKeys(plan *Plan, in *Input, known *roster, now time.Time) {
	r, local := &in.Rotation, &plan.Local
	if end := r.Switched.Add(answerWindow); !r.Former.IsZero() && now.Before(end) && !answered(plan, in, known) {
		local.PublicKey, local.Record.NextKey = r.Former, in.Self.PublicKey
		plan.WakeAt(end)
		return
	}
	local.Record.NextKey = r.Next
	for i := range plan.Specs {
		if next := plan.Specs[i].NextKey; !next.IsZero() {
			local.Record.Prepared = append(local.Record.Prepared, next.Tag())
		}
	}
}

// answered reports whether all peers that were prepared have sessions with the new key.
func answered(plan *Plan, in *Input, known *roster) bool {
	for i := range plan.Specs {
		s := &plan.Statuses[i]
		if s.State == PeerStateUp && !s.LastHandshakeTime.After(in.Rotation.Switched) &&
			slices.Contains(known.byID[plan.Specs[i].NodeID].Record.Prepared, in.Self.PublicKey.Tag()) {
			return false
		}
	}
	return true
}

// takeNextKeys notes the keys that peers announce as their next ones. A key that another
// node has, or has announced before, is not used. Owner tells whose keys are known. There
// is room for those that have a session first.
func takeNextKeys(in *Input, peers []candidate, owner map[Key]string) {
	room := maxPrepared
	for _, live := range []bool{true, false} {
		for i := range peers {
			next := peers[i].Record.NextKey
			if peers[i].live.IsValid() == live && owner[next] == peers[i].NodeID && next != peers[i].PublicKey &&
				!next.IsZero() && next != in.Self.PublicKey && next != in.Rotation.Next && room > 0 {
				room--
				peers[i].next = next
			}
		}
	}
}

// switched reports whether a node uses the next key that it has announced: it has
// authenticated itself with it. stats is what the device has of that key.
func switched(stats *PeerStats) bool { return stats != nil && stats.ReceiveBytes > 0 }
