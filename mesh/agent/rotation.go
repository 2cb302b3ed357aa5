package agent

import (
	"errors"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

const conditionRotation mesh.ConditionType = "KeyRotation"

// rotating is the change of this node's WireGuard key, beside what is on disk.
type rotating struct {
	announced mesh.Key  // the last next key
	since     time.Time // when discovery showed it in this node's record; zero: it has not
	former    mesh.Key  // zero: the present key is announced
	switched  time.Time // since when former is not used
}

// rotation returns the state of the change of this node's WireGuard key.
func (a *Agent) rotation(now time.Time) (mesh.Rotation, error) {
	keys, every := a.cfg.Rotation, a.config.KeyRotation
	if keys == nil {
		return mesh.Rotation{}, nil
	}
	next := keys.Next()
	if every == 0 || !a.signs() {
		if next.IsZero() {
			return mesh.Rotation{}, nil
		}
		return mesh.Rotation{}, keys.Cancel()
	}
	since, err := keys.Since(now)
	if err != nil {
		return mesh.Rotation{}, err
	}
	r := &a.rotating
	if r.announced != next {
		r.announced, r.since = next, time.Time{}
	}
	if r.since.IsZero() && a.shows(next) {
		r.since = now
	}
	if a.previous.Local.PublicKey == a.self.PublicKey {
		r.former = mesh.Key{}
	}
	return mesh.Rotation{
		Due: mesh.RotationDue(a.self.NodeID, since, every), Next: next, Announced: r.since, Former: r.former, Switched: r.switched,
	}, nil
}

// shows reports whether a source has shown this process' record with the next key.
func (a *Agent) shows(next mesh.Key) bool {
	for _, r := range a.sources.running {
		if shown := &r.shown().Self.Record; shown.Instance == a.record.instance && shown.NextKey == next {
			return true
		}
	}
	return false
}

// rotate takes the step that is due, after which the loop looks again at once. The key is
// on disk before the device uses it.
func (a *Agent) rotate(plan *mesh.Plan, now time.Time) error {
	switch plan.Rotation {
	case mesh.RotationBegin:
		if err := a.cfg.Rotation.Begin(); err != nil {
			return err
		}
		a.schedule.nextFull = now
		a.log.Info("the WireGuard key changes soon", "to", a.cfg.Rotation.Next())
		return nil
	case mesh.RotationSwitch:
		key, err := a.cfg.Rotation.Switch(now)
		if key.IsZero() {
			return err
		}
		a.rotating.former, a.rotating.switched = a.self.PublicKey, now
		a.cfg.Keys.PrivateKey, a.self.PrivateKey, a.self.PublicKey = key, key, key.Public()
		if len(plan.Unprepared) > 0 {
			a.log.Warn("peers that were not prepared may lose packets until they have read this node's new record", "peers", plan.Unprepared)
		}
		a.log.Info("the WireGuard key has changed", "to", a.self.PublicKey)
		if a.plane.device != nil {
			err = errors.Join(err, a.plane.device.SetPrivateKey(key))
		}
		a.schedule.nextFull = now
		return err
	}
	return nil
}

// rotationConditions says why the key does not change although it should.
func (a *Agent) rotationConditions() []mesh.Condition {
	if a.config.KeyRotation == 0 || a.signs() {
		return nil
	}
	return []mesh.Condition{{
		Type: conditionRotation, Subject: a.self.NodeID,
		Message: "keyRotation has no effect: the node id is in Talos' form, which can't sign, so others would take the new key for an attack; remove " +
			mesh.NodeIdentityFile + " to become a node that can",
	}}
}
