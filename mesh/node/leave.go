package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
	"github.com/wirespan/wirespan/mesh/unixsocket"
)

// leaveTimeout bounds the deletion from one discovery service.
const leaveTimeout = 15 * time.Second

// Known reports whether this host has the identity of a node. It creates nothing.
func Known(c *config.Config) (bool, error) {
	dir := c.IdentityDir
	if dir == "" {
		var err error
		if dir, err = StateDir(c); err != nil {
			return false, err
		}
	}
	_, err := os.Stat(filepath.Join(dir, mesh.NodeIdentityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, err
}

// Leave deletes the affiliate of a node whose agent does not run, and removes the rules
// and sockets that the agent left. The interface and its addresses ended with the agent.
// Left is false if this host has no identity of a node.
func Leave(ctx context.Context, c Config) (left bool, err error) {
	known, err := Known(c.Config)
	if err != nil {
		return false, err
	}
	if !known {
		return false, removeUnremembered(c.Config, c.Config.ClusterID, c.logger())
	}
	n, err := locate(c)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := n.take(); err != nil {
		return false, fmt.Errorf("no agent answers on the control socket, so this command leaves the mesh itself: %w", err)
	}
	n.removeSockets()
	err = errors.Join(n.leaveServices(ctx), n.state.Remove(state.CacheFile))
	// Rules are removed last, and also if no service was reached.
	return true, errors.Join(err, n.removeAllRules())
}

// removeAllRules removes the rules of the stored policy or, without one, those that the
// configuration implies.
func (n *Node) removeAllRules() error {
	memory := state.OpenPolicy(n.state)
	for _, damage := range memory.Damaged() {
		n.log.Warn(damage.Message)
	}
	if memory.IsDamaged(state.PolicyFile) {
		p, err := assumed(n.config, n.clusterID(), n.log)
		if err != nil {
			return err
		}
		memory.Assume(p)
	}
	if memory.Policy().Table == "" {
		return removeUnremembered(n.config, n.clusterID(), n.log)
	}
	return n.removeRules(memory)
}

// clusterID returns the cluster id of the state directory or of the configuration, or an
// empty string.
func (n *Node) clusterID() string {
	if c := n.membership.present(); c != nil {
		return c.ID
	}
	return n.config.ClusterID
}

// leaveServices deletes this node from the discovery services.
func (n *Node) leaveServices(ctx context.Context) error {
	if n.config.Standalone() {
		c, err := state.LoadCluster(n.state)
		if err != nil {
			return err
		}
		n.membership.enterCluster(c)
	}
	if n.founder() {
		stop, err := n.serveBriefly(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	e, err := n.effective(n.config)
	if err != nil {
		return err
	}
	last, err := n.lastRecord()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range e.Sources {
		if err := n.deleteFrom(ctx, s, e, last); err != nil {
			errs = append(errs, fmt.Errorf("deleting this node from discovery service %s: %w (it expires by itself within %s)", s.Name, err, discovery.MaxTTL))
		}
	}
	return errors.Join(errs...)
}

// lastRecord returns the signed statement that this node leaves, or an unsigned one if
// it can't sign.
func (n *Node) lastRecord() (mesh.Affiliate, error) {
	if n.keys.NodeKey.IsZero() {
		return mesh.Affiliate{}, nil
	}
	sequence, err := state.OpenSequence(n.state)
	if err != nil {
		return mesh.Affiliate{}, err
	}
	next := sequence.Next(time.Now(), 0)
	if err := sequence.Keep(); err != nil {
		n.log.Warn("leaving", "error", err)
	}
	return mesh.Affiliate{NodeID: n.keys.NodeID, Record: mesh.Record{Sequence: next, Start: next, Left: true}}, nil
}

// deleteFrom deletes this node from one discovery service.
func (n *Node) deleteFrom(ctx context.Context, s agent.Source, e *agent.Effective, last mesh.Affiliate) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	r, err := n.newRegistry(s, e, n.keys)
	if err != nil {
		return err
	}
	return r.Delete(ctx, last)
}

// serveBriefly runs the founder's embedded discovery server until stop is called. Its
// snapshot holds the affiliate to delete.
func (n *Node) serveBriefly(ctx context.Context) (stop func(), err error) {
	if err := n.listen(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.server.run(ctx); err != nil {
			n.log.Warn("embedded discovery server", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

// removeSockets removes the socket files that a killed agent left.
func (n *Node) removeSockets() {
	if path, err := ControlSocket(n.config); err == nil {
		_ = unixsocket.RemoveStale(path)
	}
	if path, err := currentUser().uapiSocket(n.config, n.config.InterfaceName); err == nil {
		_ = unixsocket.RemoveStale(path)
	}
}
