package node

import (
	"os"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// A node whose state the next boot removes neither founds nor joins a mesh, unless that is
// meant. One that is in a mesh goes on.
func TestStateThatGoesAway(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "wirespan-test-")
	if err != nil {
		t.Fatal("needs a memory file system:", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	token := testToken()
	check := func(what, wants string, change func(*Config)) {
		t.Helper()
		c := Config{Config: testConfig(t, dir)}
		c.Config.StateDir = dir
		change(&c)
		n := must(locate(c))
		defer n.Close()
		err := n.checkLasting()
		switch {
		case wants == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case wants != "" && (err == nil || !strings.Contains(err.Error(), wants) || !strings.Contains(err.Error(), "--state-dir memory")):
			t.Errorf("%s: %v, want it refused with %q", what, err, wants)
		}
	}
	check("founding", "found another mesh", func(*Config) {})
	check("joining", "join as another node", func(c *Config) { c.Token = &token })
	check("joining with an identity from elsewhere", "", func(c *Config) { c.Token, c.Config.IdentityDir = &token, "/etc" })
	check("founding with an identity from elsewhere", "found another mesh", func(c *Config) { c.Config.IdentityDir = "/etc" })
	check("in memory on purpose", "", func(c *Config) { c.Config.StateDir = config.StateMemory })
	check("in that directory on purpose", "", func(c *Config) { c.Config.StateDir = config.StateMemory + ":" + dir })
	check("on disk", "", func(c *Config) { c.Config.StateDir = "/" })
	if running, err := StoreToken(Config{Config: func() *config.Config { c := testConfig(t, dir); c.StateDir = dir; return c }(), Token: &token}); err == nil || running {
		t.Errorf("storing a join token there: running %v, %v", running, err)
	}
	st := must(state.Open(dir, nil))
	if _, err := state.FoundCluster(st); err != nil {
		t.Fatal(err)
	}
	check("going on", "", func(*Config) {})
}
