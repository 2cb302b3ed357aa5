package node

import (
	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/state"
)

// GenerateKeys makes the identity files of a node in a directory of their own,
// and returns what they hold. Files that exist are kept.
func GenerateKeys(dir string, log hclog.Logger) (state.Keys, error) {
	st, err := state.Open(dir, log)
	if err != nil {
		return state.Keys{}, err
	}
	return state.LoadKeys(st, "", log)
}
