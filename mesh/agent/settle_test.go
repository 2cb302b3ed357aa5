package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/state"
)

// reads returns a state file; empty: there is none.
func (h *harness) reads(file string) string {
	data, err := h.state.Read(file)
	if err != nil {
		return ""
	}
	return string(data)
}

// A member that changes its nodename all the time: after a burst, pins.json is written
// seldom, and once more when it has settled.
func TestPinsAreWrittenWhenSettled(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, "192.0.2.2:51820")
		writes, last := 0, h.reads(state.PinsFile)
		flap := func(n int) {
			for i := range n {
				p.Nodename = fmt.Sprintf("flap-%d", i)
				h.find(p)
				h.advance(time.Second / 15)
				if now := h.reads(state.PinsFile); now != last {
					writes, last = writes+1, now
				}
			}
		}
		flap(15 * 60)
		if writes == 0 || writes > writeBurst {
			t.Errorf("%d writes in a minute of changes", writes)
		}
		writes = 0
		flap(15 * 600)
		if writes > 10+10/3 { // one per minute, and one after each 3 min
			t.Errorf("%d writes in 10 minutes of changes", writes)
		}
		h.advance(mesh.ReconcileInterval + settleTime)
		if now := h.reads(state.PinsFile); now == last || !strings.Contains(now, p.Nodename) {
			t.Errorf("what has settled is not written: %s", now)
		}
	})
}

// Made-up members sign a new record all the time, each with a new sequence, and new ones
// take their place. pins.json, which holds the sequences, is written as seldom.
func TestSignedFlapIsWrittenSeldom(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		writes, last := 0, h.reads(state.PinsFile)
		for round := range uint64(10 * 60) {
			var all []mesh.Affiliate
			for i := range byte(20) {
				p := testPeer(2+i+20*byte(round/60), "192.0.2.2:51820")
				p.Nodename, p.Record = "", mesh.Record{Sequence: round + 1, Instance: round, Start: round + 1}
				all = append(all, p)
			}
			h.find(all...)
			h.advance(time.Second)
			if now := h.reads(state.PinsFile); now != last {
				writes, last = writes+1, now
			}
		}
		if writes == 0 || writes > writeBurst+10+10/3 {
			t.Errorf("%d writes in 10 minutes of changes", writes)
		}
		if len(h.registry().Last().Affiliate.NodeID) == 0 {
			t.Error("this node is not published")
		}
	})
}

// A network that comes and goes is written when it comes first, before it is
// routed, and then as seldom as pins.
func TestPolicyIsWrittenWhenSettled(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, "192.0.2.2:51820")
		p.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
		without := testPeer(2, "192.0.2.2:51820")
		h.fw.With(func() {
			h.fw.OnApply = func() {
				if len(h.fw.History) > 0 && !strings.Contains(h.reads(state.PolicyFile), "10.9.0.0/16") {
					t.Error("a network is routed before it is on disk")
				}
			}
		})
		h.find(p)
		writes, last := 0, h.reads(state.PolicyFile)
		if !strings.Contains(last, "10.9.0.0/16") {
			t.Fatalf("a network is not on disk: %s", last)
		}
		for range 15 * 60 {
			h.find(without)
			h.advance(time.Second / 30)
			h.find(p)
			h.advance(time.Second / 30)
			if now := h.reads(state.PolicyFile); now != last {
				writes, last = writes+1, now
			}
		}
		if writes > 0 {
			t.Errorf("%d writes in a minute in which a network comes and goes", writes)
		}
		h.fw.With(func() { h.fw.OnApply = nil })
		h.find(without)
		h.advance(mesh.ReconcileInterval + settleTime)
		if strings.Contains(h.reads(state.PolicyFile), "10.9.0.0/16") {
			t.Error("the network is on disk after it has gone")
		}
	})
}

// A new node is on disk at once, and the end of Run writes what was left for later.
func TestStopWritesState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		p := testPeer(2, "192.0.2.2:51820")
		h.find(p)
		if got := h.reads(state.PinsFile); !strings.Contains(got, p.NodeID) {
			t.Errorf("pins of a new node: %q", got)
		}
		for i := range 2 * writeBurst {
			p.Nodename = fmt.Sprintf("name-%d", i)
			h.find(p)
			h.advance(time.Second)
		}
		if got := h.reads(state.PinsFile); strings.Contains(got, p.Nodename) {
			t.Errorf("the last of many changes was written at once: %s", got)
		}
		h.stop()
		if got := h.reads(state.PinsFile); !strings.Contains(got, p.Nodename) {
			t.Errorf("pins after the end: %q", got)
		}
	})
}
