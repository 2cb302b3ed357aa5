//go:build edge

package node

import (
	"errors"
	"testing"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// A node of the edge build founds nothing, and leaves nothing behind when it is asked to.
func TestFoundsNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := entered(t, Config{Config: testConfig(t, dir)}); !errors.Is(err, errNoServer) {
		t.Errorf("founding: %v", err)
	}
	if c, err := state.LoadCluster(must(state.Open(dir, nil))); c != nil || err != nil {
		t.Errorf("cluster %v, %v", c, err)
	}
}

// What the edge build lacks is refused before anything is opened.
func TestOpenRefusesWhatIsLeftOut(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*config.Config)
		want   error
	}{
		"netstack": {func(*config.Config) {}, errNoNetstack},
		"relay":    {func(c *config.Config) { c.Backend, c.Relay = config.BackendTUN, config.RelayOffer }, errNoRelay},
	} {
		c := testConfig(t, t.TempDir())
		test.change(c)
		if n, err := Open(t.Context(), Config{Config: c}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, %v; want %v", name, n, err, test.want)
		}
	}
}
