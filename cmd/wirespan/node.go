package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// node is what this host is, as its state directory and configuration say.
type node struct {
	cli     *cli
	log     hclog.Logger
	config  *config.Config
	state   *state.Dir
	keys    state.Keys
	cluster *state.Cluster // nil if the configuration names the cluster
	server  *embedded      // nil unless this node is the cluster's founder
	offered string         // the join token as last shown or written
}

// openNode reads the configuration and takes the state directory.
func (c *cli) openNode() (*node, error) {
	n, err := c.locateNode()
	if err != nil {
		return nil, err
	}
	if err := n.state.Lock(); err != nil {
		return nil, err
	}
	if n.keys, err = state.LoadKeys(n.state, n.config.IdentityDir, n.log); err != nil {
		return nil, errors.Join(err, n.state.Close())
	}
	return n, nil
}

// locateNode reads the configuration and finds the state directory, without
// taking it from an agent that may run.
func (c *cli) locateNode() (*node, error) {
	cfg, err := c.load(true)
	if err != nil {
		return nil, err
	}
	n := &node{cli: c, config: cfg, log: newLogger(cfg.Logging, c.err)}
	for _, path := range c.exposed {
		n.log.Warn("configuration with the cluster's secret is readable by others: chmod 600 it", "file", path)
	}
	dir, err := stateDir(cfg)
	if err != nil {
		return nil, err
	}
	if n.state, err = state.Open(dir, n.log); err != nil {
		return nil, err
	}
	return n, nil
}

// enter finds the cluster: the configuration's, the token's, the one in the
// state directory or, if found is set, a new one.
func (n *node) enter(token *config.Token, found bool) (err error) {
	if !n.config.Standalone() {
		if token != nil {
			return usageError{errors.New("--join: the configuration already names a cluster (remove the token, or the identity from the configuration)")}
		}
		return nil
	}
	if token != nil {
		n.cluster, err = state.JoinCluster(n.state, *token)
	} else {
		n.cluster, err = state.LoadCluster(n.state)
	}
	if err != nil || n.cluster != nil || !found {
		return err
	}
	if _, err := n.state.Read(server.KeyFile); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state directory %q holds the key of a discovery server, but cluster.yaml is missing: restore it from a backup, or remove %s to found a new mesh", n.state.Root(), server.KeyFile)
	}
	n.cluster, err = state.FoundCluster(n.state)
	return err
}

// settings joins the configuration with the cluster.
func (n *node) settings(cfg *config.Config) (*agent.Settings, error) {
	var own agent.Service
	if n.server != nil {
		own = n.server.service()
	}
	return agent.Effective(cfg, n.cluster, own)
}

// reload reads the configuration again. The agent's loop calls it, as it calls
// observed and notify.
func (n *node) reload() (*agent.Settings, error) {
	cfg, err := n.cli.load(true)
	if err != nil {
		return nil, err
	}
	s, err := n.settings(cfg)
	if err != nil {
		return nil, err
	}
	n.log.SetLevel(hclog.LevelFromString(cfg.Logging.Level))
	if cfg.KubeSpan.Enabled != n.config.KubeSpan.Enabled {
		n.explainMesh(cfg)
	}
	n.config = cfg
	return s, nil
}

// newRegistry makes the client of one discovery service. Its sockets carry the
// mark of encrypted packets, so that they never end up in the tunnel.
func newRegistry(s agent.Service, c *agent.Settings, nodeID string, log hclog.Logger) (*service.Client, error) {
	return service.New(service.Config{
		Name: s.Name, Endpoints: s.Endpoints, Insecure: s.Insecure, Pin: s.Pin,
		ClusterID: c.ClusterID, AffiliateID: nodeID, Secret: c.ClusterSecret,
		TTL: discovery.MaxTTL, ClientVersion: version(),
		Control: bind.Control(c.Firewall.EncryptedMark), Log: log.Named("discovery"),
	})
}

func newLogger(l config.Logging, w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "wirespan", Level: hclog.LevelFromString(l.Level), JSONFormat: l.JSON, Output: w,
	})
}
