package agent

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

const conditionCloned mesh.ConditionType = "IdentityCloned"

// record is what this process has signed.
type record struct {
	instance  uint64
	start     uint64          // the first sequence of this process; zero: none yet
	echoed    map[string]bool // by name: sources that have shown a record of this process
	published mesh.Affiliate  // the last, with its record
	began     int64           // when this process started, by the clock that published was signed with; in ms
	other     mesh.Affiliate  // the newest of another process that a source has shown
	trial     time.Time       // until when this process waits for that one to answer; zero: it has not begun
	withdrawn bool            // an older process with this identity works on
	rival     string          // where that is, or one that has withdrawn
	rivalSeen time.Time
	met       uint64    // the sequence of its newest record
	answerAt  time.Time // when this process signs above that
}

func newRecord() record {
	var b [8]byte
	_, _ = rand.Read(b[:]) // does not fail
	return record{instance: binary.BigEndian.Uint64(b[:]), echoed: map[string]bool{}}
}

// signs reports whether this node can sign.
func (a *Agent) signs() bool { return !a.cfg.Keys.NodeKey.IsZero() }

// watchClones decides whether this process or another one with the same identity works
// on. A record of another instance is that of an earlier process, unless its source has
// shown one of ours before: only a process that runs replaces that. Then the one that
// started later withdraws, until the other one leaves or its record ends.
func (a *Agent) watchClones(now time.Time) {
	r := &a.record
	for _, registry := range a.registries() {
		name, self := registry.name, &registry.shown().Self
		switch {
		case !self.Record.Signed():
			continue
		case self.Record.Instance == r.instance:
			r.echoed[name] = true
			continue
		case self.Record.Newer(&r.other.Record):
			r.other = *self
		}
		switch {
		case r.withdrawn && !self.Record.Left:
			r.rivalSeen = now
		case r.echoed[name] && !self.Record.Left && self.Record.Newer(&r.published.Record):
			a.meetClone(self, now)
		}
	}
	if r.withdrawn && (r.other.Record.Left || now.Sub(r.rivalSeen) >= mesh.PassOnTime) {
		r.withdrawn, r.rival = false, ""
		a.log.Info("the other host with this node's identity has gone: taking its place")
	}
}

// answerTime is how long a process waits until it replaces a clone's record: the other
// nodes are to see both.
const answerTime = time.Second

// meetClone notes that another process publishes with this identity.
func (a *Agent) meetClone(self *mesh.Affiliate, now time.Time) {
	r := &a.record
	r.rival, r.rivalSeen = self.FirstEndpoint(), now
	if self.Record.Sequence != r.met {
		r.met, r.answerAt = self.Record.Sequence, now.Add(answerTime)
	}
	later := self.Record.Start < r.start || self.Record.Start == r.start && self.Record.Instance < r.instance
	if later && !r.withdrawn {
		a.log.Error("another host runs with this node's identity and started earlier: withdrawing", "at", r.rival)
		r.withdrawn = true
	}
}

// trialTime is how long a process that starts elsewhere than the last one with this
// identity waits for an answer of that one.
const trialTime = 5 * time.Second

// onTrial reports whether this process must not reach for peers yet. A clone would take
// over the sessions of the host that it is a copy of, before it learns of it. If the last
// record names the place where this process is, it is that of an earlier process.
func (a *Agent) onTrial(local *mesh.Affiliate, now time.Time) bool {
	r := &a.record
	if !r.other.Record.Signed() || r.trial.IsZero() && len(r.echoed) > 0 {
		return false
	}
	if r.trial.IsZero() {
		r.trial = now.Add(trialTime)
		if r.other.Record.Left || placeOf(&r.other) == placeOf(local) {
			r.trial = now
		}
	}
	return now.Before(r.trial)
}

// placeOf returns the address of the first endpoint. Its port may change from one process
// to the next.
func placeOf(a *mesh.Affiliate) netip.Addr {
	if len(a.Endpoints) == 0 {
		return netip.Addr{}
	}
	return a.Endpoints[0].Addr()
}

// cloneConditions names both hosts for as long as the other one was seen lately.
func (a *Agent) cloneConditions(now time.Time) []mesh.Condition {
	r := &a.record
	if r.rival == "" || !r.withdrawn && now.Sub(r.rivalSeen) >= mesh.PassOnTime {
		return nil
	}
	what := "this one started first and works on"
	if r.withdrawn {
		what = "this one started later and has withdrawn"
	}
	return []mesh.Condition{{Type: conditionCloned, Subject: a.self.NodeID, Message: fmt.Sprintf(
		"two hosts run with this node's identity, this one (%s) and one at %s; %s; give one of them an identity of its own: stop it, and remove %s and %s there",
		r.published.FirstEndpoint(), r.rival, what, mesh.NodeKeyFile, mesh.NodeIdentityFile)}}
}

// clockStep is by how much the clock must have been set forward for a new record.
const clockStep = time.Minute

// sign gives this node's affiliate its record: that of the last one, if it is unchanged
// and no other is newer, else a new one. It signs anew, too, when the clock has been set
// forward: a record from before that may be older than those that others have seen.
//
// An error says that the record's sequence is not on disk.
func (a *Agent) sign(local *mesh.Affiliate, now time.Time) error {
	if !a.signs() {
		local.Record = mesh.Record{}
		return nil
	}
	r := &a.record
	began := now.Add(-now.Sub(a.started)).UnixMilli()
	local.Record.SecretNumber, local.Record.Statement = a.config.Charter.SecretNumber, a.config.Charter.Repeated
	mark(local, &r.published.Record)
	superseded := r.other.Record.Newer(&r.published.Record)
	if r.start != 0 && !superseded && began-r.began < clockStep.Milliseconds() && reflect.DeepEqual(local, &r.published) {
		return a.cfg.Sequence.Keep()
	}
	sequence := a.cfg.Sequence.Next(now, r.other.Record.Sequence)
	if r.start == 0 || superseded && r.rival == "" { // a restored backup starts below its own record
		r.start = sequence
	}
	mark(local, &mesh.Record{Sequence: sequence, Instance: r.instance, Start: r.start, Ephemeral: a.cfg.Keys.Ephemeral})
	r.published, r.began = *local, began
	return a.cfg.Sequence.Keep()
}

// mark sets those fields of a record that do not come from the plan.
func mark(a *mesh.Affiliate, r *mesh.Record) {
	a.Record.Sequence, a.Record.Instance, a.Record.Start, a.Record.Ephemeral = r.Sequence, r.Instance, r.Start, r.Ephemeral
}

// lastRecord returns the signed statement that this node leaves.
func (a *Agent) lastRecord() mesh.Affiliate {
	if !a.signs() {
		return mesh.Affiliate{}
	}
	sequence := a.cfg.Sequence.Next(time.Now(), a.record.other.Record.Sequence)
	a.warnUnwritten(state.SequenceFile, a.cfg.Sequence.Keep())
	start := a.record.start
	if start == 0 {
		start = sequence
	}
	return mesh.Affiliate{NodeID: a.self.NodeID, Record: mesh.Record{
		Sequence: sequence, Instance: a.record.instance, Start: start, Ephemeral: a.cfg.Keys.Ephemeral, Left: true,
	}}
}
