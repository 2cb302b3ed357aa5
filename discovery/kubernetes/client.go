package kubernetes

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

// Config of a [Client].
type Config struct {
	Name        string // of the source, for logs
	Kubeconfig  string // path; empty: the service account of the pod
	Node        string // the Node of this machine
	ClusterID   string // a credential
	AffiliateID string // this node's id
	Secret      mesh.Secret
	NodeKey     mesh.NodeKey // signs what has a record; zero: nothing has one

	// Talos says that Talos' annotations are written, too. Without it only the node id is
	// plain text.
	Talos bool
	// ReadOnly says that nothing is written.
	ReadOnly bool
	Version  string // of this program, for the User-Agent

	// Control is called for every socket, including those of DNS look-ups (see
	// net.Dialer). It sets the firewall mark. Optional.
	Control func(network, address string, c syscall.RawConn) error
	Log     hclog.Logger // default: none
}

// Client is a client of one Kubernetes API. Use [New].
type Client struct {
	cfg     Config
	log     hclog.Logger
	conns   *connections
	changed mesh.Signal
	wake    mesh.Signal // local was replaced, or the own Node is another
	moved   mesh.Signal // addresses or routes of this host have changed

	mu      sync.Mutex
	token   *token           // that is used; nil: none yet
	local   *discovery.Local // nil before the first Publish; replaced, not modified
	own     *node            // the own Node, as last seen; nil: not known
	snap    discovery.Snapshot
	writing error               // why nothing can be written
	found   []discovery.Problem // in the data of Nodes
	ownNode []discovery.Problem // in the own Node
	refused []discovery.Problem // in the published data
}

// New checks c and returns a client that does nothing until [Client.Run].
func New(c Config) (*Client, error) {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if c.Node == "" || len(c.Node) > maxTextLength || !discovery.Printable(c.Node) {
		return nil, fmt.Errorf("kubernetes: %.300q is no name of a Node: set kubernetes.nodename", c.Node)
	}
	if n := len(c.ClusterID); n == 0 || n > discovery.MaxClusterIDLength {
		return nil, fmt.Errorf("kubernetes: cluster id has %d bytes, not 1 to %d", n, discovery.MaxClusterIDLength)
	}
	if err := discovery.CheckID(c.AffiliateID); err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	if c.Secret.IsZero() {
		return nil, errors.New("kubernetes: no cluster secret")
	}
	return &Client{
		cfg: c, log: c.Log.With("source", c.Name, "node", c.Node),
		conns:   &connections{dial: newDialer(c.Control), open: map[*connection]bool{}},
		changed: mesh.NewSignal(), wake: mesh.NewSignal(), moved: mesh.NewSignal(),
	}, nil
}

func (c *Client) cluster() codec.Cluster {
	return codec.Cluster{ID: c.cfg.ClusterID, Secret: c.cfg.Secret}
}

// Publish replaces the data to publish. It does not block, and writes nothing if the Node has
// the same. Nothing is written before the first call, or after one with an empty affiliate.
// The slices in l must not be modified afterwards. Where this node reaches others is not
// published: it has no right to write to their Nodes.
func (c *Client) Publish(l discovery.Local) {
	l.Others = nil
	c.mu.Lock()
	same := c.local != nil && reflect.DeepEqual(*c.local, l)
	if !same {
		c.local, c.snap.Published = &l, false
	}
	c.mu.Unlock()
	if !same {
		c.wake.Notify()
	}
}

// Changed receives after a change of the [discovery.Snapshot]. Several changes may be
// signalled once.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// Moved says that addresses or default routes of this host have changed, so that connections
// may hang until they are given up, or an attempt succeed.
func (c *Client) Moved() {
	c.mu.Lock()
	local := c.snap.Connected && c.snap.ServerAddr.IsLoopback()
	c.mu.Unlock()
	if !local {
		c.moved.Notify()
	}
}

// Snapshot returns the current state. Its LastError may also say why this node can't be
// published.
func (c *Client) Snapshot() discovery.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.snap
	if s.LastError == nil {
		s.LastError = c.writing
	}
	s.Problems = slices.Concat(c.found, c.ownNode, c.refused)
	return s
}

// update changes the snapshot and signals it.
func (c *Client) update(change func(*discovery.Snapshot)) {
	c.mu.Lock()
	change(&c.snap)
	c.mu.Unlock()
	c.changed.Notify()
}

// report replaces a list of problems.
func (c *Client) report(list *[]discovery.Problem, problems []discovery.Problem) {
	c.mu.Lock()
	same := slices.Equal(*list, problems)
	*list = problems
	c.mu.Unlock()
	if !same {
		c.changed.Notify()
	}
}

// setOwn takes the state of the own Node; nil: it does not exist. An older state than the
// known one is a late event.
func (c *Client) setOwn(n *node) {
	c.mu.Lock()
	if n != nil && c.own != nil && older(n.ResourceVersion, c.own.ResourceVersion) {
		c.mu.Unlock()
		return
	}
	same := n != nil && c.own != nil && n.same(c.own)
	c.own = n
	c.mu.Unlock()
	if same {
		return
	}
	var networks []netip.Prefix
	var problems []discovery.Problem
	if n != nil {
		networks, problems = n.podNetworks()
		c.update(func(s *discovery.Snapshot) { s.Networks = networks })
	}
	c.report(&c.ownNode, problems)
	c.wake.Notify()
}

// forgetOwn says that what a complete list has counts, even if it is older.
func (c *Client) forgetOwn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = nil
}

// older reports whether a resource version is older than another. They are decimal numbers
// that grow; what is not says nothing.
func older(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x < y
}
