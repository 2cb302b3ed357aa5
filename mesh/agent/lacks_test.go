package agent

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// The policy in place says what the kernel lacks, also if that is found out while it is
// applied.
func TestKernelLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		defer h.stop()
		h.find(withNetworks(testPeer(8), "10.1.0.0/16"))
		h.fw.With(func() { h.fw.Lacking = firewall.Lacks{firewall.FeatureNftables} })
		h.advance(mesh.ReconcileInterval)
		h.fw.With(func() {
			if !h.fw.Policy.Lacks.Has(firewall.FeatureNftables) {
				t.Errorf("applied without %v", h.fw.Policy.Lacks)
			}
		})
		before := len(h.fw.History)
		h.advance(time.Second)
		if n := len(h.fw.History); n != before {
			t.Errorf("applied %d times more", n-before)
		}
	})
}

// A device whose peers cannot be filtered has none.
func TestUnfiltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, meshDocument)
		h.start()
		defer h.stop()
		h.find(testPeer(8))
		if n := len(h.device().Config()); n != 1 {
			t.Fatalf("%d peers", n)
		}
		h.fw.With(func() { h.fw.Err = fmt.Errorf("%w: the kernel has nothing", firewall.ErrUnfiltered) })
		h.find(testPeer(8), withNetworks(testPeer(16), "10.1.0.0/16"))
		if n := len(h.device().Config()); n != 0 {
			t.Errorf("%d peers that are not filtered", n)
		}
		if c := h.condition(conditionApply); !strings.Contains(c, firewall.ErrUnfiltered.Error()) {
			t.Errorf("condition %q", c)
		}
		h.fw.With(func() { h.fw.Err = nil })
		h.advance(time.Minute)
		if n := len(h.device().Config()); n != 2 {
			t.Errorf("%d peers later", n)
		}
	})
}
