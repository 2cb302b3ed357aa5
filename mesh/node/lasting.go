package node

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// checkLasting refuses to found or to join a mesh with a state directory that the next
// boot empties, unless the configuration says so on purpose: at each boot, the node would
// found another mesh, or be another member. A node that is in a mesh goes on.
func (n *Node) checkLasting() error {
	if !n.config.Standalone() || !n.state.Ephemeral() || saidMemory(n.config) {
		return nil
	}
	token, err := n.joinToken()
	if err != nil || token != nil && n.config.IdentityDir != "" { // it is the same member
		return err
	}
	if _, err := n.state.Read(state.ClusterFile); !errors.Is(err, fs.ErrNotExist) {
		return nil // there is one, or enter says what is wrong with it
	}
	what := "found another mesh"
	if token != nil {
		what = "join as another node"
	}
	return fmt.Errorf("state directory %q is in memory (tmpfs): after each boot this node would %s; give a directory on disk or flash with --state-dir, or say that this is meant: --state-dir memory, or --state-dir memory:%s to keep the files until the next boot",
		n.state.Root(), what, n.state.Root())
}

// saidMemory reports whether the configuration says that the state may be lost.
func saidMemory(c *config.Config) bool {
	return c.StateDir == config.StateMemory || strings.HasPrefix(c.StateDir, config.StateMemory+":")
}
