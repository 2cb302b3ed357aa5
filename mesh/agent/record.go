package agent

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"reflect"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// Conditions of this node's own record.
const (
	conditionCloned   mesh.ConditionType = "IdentityCloned"
	conditionSequence mesh.ConditionType = "RecordNotSigned"
)

// record is what this process has signed.
type record struct {
	instance  uint64
	start     uint64         // the first sequence of this process; zero: none yet
	echoed    bool           // a source has shown a record of this process
	published mesh.Affiliate // the last, with its record
	withdrawn bool           // an older process with this identity works on
	rival     string         // where another process with this identity is
	rivalSeen time.Time
}

func newRecord() record {
	var b [8]byte
	_, _ = rand.Read(b[:]) // does not fail
	return record{instance: binary.BigEndian.Uint64(b[:])}
}

// signs reports whether this node can sign.
func (a *Agent) signs() bool { return !a.cfg.Keys.NodeKey.IsZero() }

// newestSelf returns this node's newest record at any source. It can be one of an earlier
// process, or of another host that has a copy of this node's state.
func (a *Agent) newestSelf() (newest mesh.Affiliate) {
	for _, name := range a.registryNames() {
		if self := a.sources.running[name].Snapshot().Self; self.Record.Newer(newest.Record) {
			newest = self
		}
	}
	return newest
}

// watchClones decides whether this process or another one with the same identity works
// on. A record of another instance is that of an earlier process, unless it is newer than
// one of ours that a source has shown: only a process that runs publishes again. Then the
// one that started later withdraws.
func (a *Agent) watchClones(now time.Time) {
	r := &a.record
	self := a.newestSelf()
	switch {
	case !self.Record.Signed():
		r.withdrawn = false // it is gone
	case self.Record.Instance == r.instance:
		r.echoed = true
	case r.echoed && !self.Record.Left && self.Record.Newer(r.published.Record):
		r.rival, r.rivalSeen = endpointOf(self), now
		later := self.Record.Start < r.start || self.Record.Start == r.start && self.Record.Instance < r.instance
		if later && !r.withdrawn {
			a.log.Error("another host runs with this node's identity and started earlier: withdrawing", "at", r.rival)
		}
		r.withdrawn = later
	}
}

func endpointOf(a mesh.Affiliate) string {
	if len(a.Endpoints) == 0 {
		return "an unknown address"
	}
	return a.Endpoints[0].String()
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
		endpointOf(a.previous.Local), r.rival, what, mesh.NodeKeyFile, mesh.NodeIdentityFile)}}
}

// sign gives this node's affiliate its record: that of the last one, if it is unchanged
// and no other is newer, else a new one.
func (a *Agent) sign(local mesh.Affiliate, now time.Time) (mesh.Affiliate, error) {
	if !a.signs() {
		return local, nil
	}
	r := &a.record
	self := a.newestSelf()
	local.Record = r.published.Record
	superseded := self.Record.Instance != r.instance && self.Record.Newer(r.published.Record)
	if r.start != 0 && !superseded && reflect.DeepEqual(local, r.published) {
		return local, nil
	}
	sequence, err := a.cfg.Sequence.Next(now, self.Record.Sequence)
	if err != nil {
		return local, err
	}
	if r.start == 0 || superseded && !r.echoed { // a restored backup starts below its own record
		r.start = sequence
	}
	local.Record = mesh.Record{Sequence: sequence, Instance: r.instance, Start: r.start, Ephemeral: a.cfg.Keys.Ephemeral}
	r.published = local
	return local, nil
}

// lastRecord returns the signed statement that this node leaves.
func (a *Agent) lastRecord() (mesh.Affiliate, error) {
	if !a.signs() {
		return mesh.Affiliate{}, nil
	}
	sequence, err := a.cfg.Sequence.Next(time.Now(), max(a.newestSelf().Record.Sequence, a.record.published.Record.Sequence))
	if err != nil {
		return mesh.Affiliate{}, err
	}
	start := a.record.start
	if start == 0 {
		start = sequence
	}
	return mesh.Affiliate{NodeID: a.self.NodeID, Record: mesh.Record{
		Sequence: sequence, Instance: a.record.instance, Start: start, Ephemeral: a.cfg.Keys.Ephemeral, Left: true,
	}}, nil
}
