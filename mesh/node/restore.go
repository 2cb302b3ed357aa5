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

// ErrAgentRuns reports that an agent runs with this state directory.
var ErrAgentRuns = errors.New("the agent runs")

// RestoreRules applies the last policy of the agent to the kernel, so that traffic that
// belongs in the tunnel is refused until the agent runs. It reads only the policy of the
// state directory and creates nothing there but the lock. Restored is false if there is
// nothing to restore. Beside a running
// agent it fails with [ErrAgentRuns].
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
	if err := st.LockBriefly(); errors.Is(err, state.ErrInUse) {
		return false, ErrAgentRuns
	} else if err != nil {
		return false, err
	}
	defer st.Close()
	memory := state.OpenPolicy(st)
	for _, damage := range memory.Damaged() {
		log.Warn(damage.Message)
	}
	p := memory.Policy()
	if memory.IsDamaged(state.PolicyFile) { // refuse at least what is known
		if p, err = assumed(c, storedClusterID(c, st), log); err != nil {
			return false, err
		}
	}
	if p.Table == "" {
		return false, nil
	}
	f, err := nft.Open(nft.Config{Log: log.Named("firewall")})
	if err != nil {
		return false, err
	}
	_, err = f.ApplyPolicy(p)
	if errors.Is(err, firewall.ErrUnfiltered) { // there is no tunnel yet whose packets they would filter
		p.Ingress = firewall.Ingress{}
		_, err = f.ApplyPolicy(p)
	}
	err = errors.Join(err, f.Close())
	return err == nil, err
}

// storedClusterID returns the cluster id of the configuration or the state directory, or
// an empty string.
func storedClusterID(c *config.Config, st *state.Dir) string {
	if c.ClusterID != "" {
		return c.ClusterID
	}
	if cluster, err := state.LoadCluster(st); err == nil && cluster != nil {
		return cluster.ID
	}
	return ""
}
