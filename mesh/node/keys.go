package node

import (
	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/state"
)

// GenerateKeys creates the identity files of a node in dir and returns their keys. It
// keeps files that exist.
func GenerateKeys(dir string, log hclog.Logger) (state.Keys, error) {
	st, err := state.Open(dir, log)
	if err != nil {
		return state.Keys{}, err
	}
	return state.LoadKeys(st, "", log)
}
