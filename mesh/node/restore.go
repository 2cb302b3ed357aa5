package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/nft"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// RestoreRules puts the rules that the agent last had back into the kernel, so
// that what belongs into the tunnel is refused until the agent runs. It needs of
// the state directory the policy and nothing else, and makes nothing in it but
// the lock. Restored is false if there is nothing to restore.
func RestoreRules(c *config.Config, log hclog.Logger) (restored bool, err error) {
	dir, err := StateDir(c)
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(filepath.Join(dir, state.PolicyFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	st, err := state.Open(dir, log)
	if err != nil {
		return false, err
	}
	if err := st.Lock(); err != nil {
		return false, err
	}
	defer st.Close()
	memory, err := state.OpenPolicy(st)
	if err != nil {
		return false, err
	}
	p := memory.Policy()
	if p.Table == "" {
		return false, nil
	}
	f, err := nft.Open(nft.Config{Log: log.Named("firewall")})
	if err != nil {
		return false, err
	}
	err = errors.Join(f.Apply(firewall.Compile(p)), f.Close())
	return err == nil, err
}
