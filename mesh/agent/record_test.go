package agent

import (
	"reflect"
	"testing"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// ownRecord is this node's record as another process with its identity signed it.
func (h *harness) ownRecord(r mesh.Record) mesh.Affiliate {
	return mesh.Affiliate{NodeID: h.config.Keys.NodeID, Record: r}
}

// show lets the registry show this node's own record.
func (h *harness) show(self mesh.Affiliate) {
	h.registry().Show(discovery.Snapshot{Connected: true, Self: self})
	h.advance(time.Second)
}

// Nothing is published before discovery has shown what it has of this node, but a service
// that doesn't answer does not keep a node from publishing for ever.
func TestPublishesAfterReading(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		if got := h.registry().Last().Affiliate; got.NodeID != "" {
			t.Errorf("published at once: %+v", got)
		}
		h.advance(mesh.ReconcileInterval + time.Second)
		if got := h.registry().Last().Affiliate; !got.Record.Signed() {
			t.Errorf("published without an answer: %+v", got)
		}
	})
}

// A record of an earlier run that turns up late, at another source, is no clone. Only one
// that replaces a record of this run is.
func TestOldRecordIsNoClone(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		high := uint64(time.Now().Add(time.Hour).UnixMilli()) // the clock was ahead
		h.find()
		first := h.registry().Last().Affiliate
		h.show(h.ownRecord(mesh.Record{Sequence: high, Instance: 7, Start: 1}))
		second := h.registry().Last().Affiliate
		if second.Record.Sequence <= high || second.Record.Start <= 1 || second.Record.Instance != first.Record.Instance {
			t.Errorf("signed %+v above a record with the sequence %d", second.Record, high)
		}
		if got := h.condition(conditionCloned); got != "" {
			t.Errorf("condition %q", got)
		}
		h.show(second)
		h.show(h.ownRecord(mesh.Record{Sequence: high + 9, Instance: 7, Start: 1}))
		if got := h.condition(conditionCloned); got == "" {
			t.Error("a record that replaces ours is not noticed")
		}
		if got := h.registry().Last().Affiliate; got.NodeID != "" {
			t.Errorf("withdrawn, this node publishes %+v", got.Record)
		}
	})
}

// A source shows old records of this node, one after another and again and again: none
// makes it withdraw, or sign again.
func TestReplayedOwnRecords(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find()
		mine := h.registry().Last().Affiliate
		h.show(mine)
		for i := range uint64(20) {
			h.show(h.ownRecord(mesh.Record{Sequence: mine.Record.Sequence - 20 + i, Instance: 7 + i, Start: 1}))
			h.show(mesh.Affiliate{})
			h.show(mine)
		}
		if got := h.registry().Last().Affiliate; !reflect.DeepEqual(got.Record, mine.Record) || h.condition(conditionCloned) != "" {
			t.Errorf("signed %+v, was %+v; condition %q", got.Record, mine.Record, h.condition(conditionCloned))
		}
	})
}

// A node that was restored signed with a clock that was behind. When the clock is set, it
// signs above what others have seen.
func TestSignsAnewWhenTheClockIsSet(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		h.find()
		mine := h.registry().Last().Affiliate
		h.show(mine)
		h.advance(24 * time.Hour)
		if got := h.registry().Last().Affiliate; !reflect.DeepEqual(got.Record, mine.Record) {
			t.Errorf("time passed, and the node signed again: %+v", got.Record)
		}
		h.stop()
		h.agent.record.began -= clockStep.Milliseconds() // as if the clock had been behind
		signed := mine
		signed.Record = mesh.Record{}
		again := signed
		if err := h.agent.sign(&signed, time.Now()); err != nil || signed.Record.Sequence < uint64(time.Now().UnixMilli()) {
			t.Errorf("signed %+v, %v", signed.Record, err)
		}
		if err := h.agent.sign(&again, time.Now()); err != nil || !reflect.DeepEqual(again.Record, signed.Record) {
			t.Errorf("and again %+v, %v", again.Record, err)
		}
	})
}
