package service

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// Config of a [Client].
type Config struct {
	Name          string        // of the service, for logs
	Endpoints     []string      // host:port, addresses of one server; tried in turn
	Insecure      bool          // plaintext HTTP/2
	Pin           [32]byte      // SHA-256 of the server's SubjectPublicKeyInfo; zero: verify by system roots
	ClusterID     string        // a credential: only its start is logged
	DiscoveryID   string        // under which the cluster is known to the service; default: ClusterID
	AffiliateID   string        // this node's id
	Secret        mesh.Secret   // cluster secret
	NodeKey       mesh.NodeKey  // signs what has a record; zero: nothing has one
	TTL           time.Duration // of the published data; default and maximum: discovery.MaxTTL
	ClientVersion string        // vX.Y.Z, for the server's metrics

	// Control is called for every socket, including those of DNS look-ups (see
	// net.Dialer). It sets the firewall mark. Optional.
	Control func(network, address string, c syscall.RawConn) error
	Log     hclog.Logger // default: none
}

// Client is a client of one discovery service. Use [New].
type Client struct {
	cfg     Config
	log     hclog.Logger
	dial    dialFunc
	changed mesh.Signal
	wake    mesh.Signal // local was replaced
	moved   mesh.Signal // addresses or routes of this host have changed
	strange mesh.Signal // the server's entry for this node is not what was published

	mu       sync.Mutex
	local    *discovery.Local // nil before the first Publish; replaced, not modified
	endpoint string           // to connect to next; a redirect can lead to one that is not in cfg.Endpoints
	snap     discovery.Snapshot
	sent     []byte              // this node's data as the server took it last over this connection; nil: none
	own      []byte              // this node's data as the server shows it; nil: none
	echoes   bool                // the server shows this node its own entry
	found    []discovery.Problem // in the server's data
	refused  []discovery.Problem // in the published data
}

// New checks c and returns a client that does nothing until [Client.Run].
func New(c Config) (*Client, error) {
	c.TTL = cmp.Or(c.TTL, discovery.MaxTTL)
	c.DiscoveryID = cmp.Or(c.DiscoveryID, c.ClusterID)
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if len(c.Endpoints) == 0 {
		return nil, errors.New("discovery service: no endpoint")
	}
	for _, e := range c.Endpoints {
		if err := checkEndpoint(e); err != nil {
			return nil, fmt.Errorf("discovery service: %w", err)
		}
	}
	if n := len(c.ClusterID); n == 0 || n > discovery.MaxClusterIDLength {
		return nil, fmt.Errorf("discovery service: cluster id has %d bytes, not 1 to %d", n, discovery.MaxClusterIDLength)
	}
	if err := discovery.CheckID(c.AffiliateID); err != nil {
		return nil, fmt.Errorf("discovery service: %w", err)
	}
	if c.Secret.IsZero() {
		return nil, errors.New("discovery service: no cluster secret")
	}
	if c.TTL < time.Second || c.TTL > discovery.MaxTTL {
		return nil, fmt.Errorf("discovery service: TTL %v is not within 1s to %v", c.TTL, discovery.MaxTTL)
	}
	if c.Insecure && c.Pin != [32]byte{} {
		return nil, errors.New("discovery service: a plaintext connection has no certificate to pin")
	}
	c.Endpoints = slices.Clone(c.Endpoints)
	return &Client{
		cfg:      c,
		log:      c.Log.With("service", c.Name, "cluster", mesh.ShortClusterID(c.ClusterID)),
		dial:     newDialer(c.Control, connectTimeout(len(c.Endpoints))),
		changed:  mesh.NewSignal(),
		wake:     mesh.NewSignal(),
		moved:    mesh.NewSignal(),
		strange:  mesh.NewSignal(),
		endpoint: c.Endpoints[0],
		snap:     discovery.Snapshot{Server: c.Endpoints[0]},
	}, nil
}

// Publish replaces the data to publish. It does not block, and sends nothing if the data
// is unchanged. Nothing is sent before the first call, or after one with an empty
// affiliate: what the service has then ages. The slices in l must not be
// modified afterwards.
func (c *Client) Publish(l discovery.Local) {
	c.mu.Lock()
	same := c.local != nil && reflect.DeepEqual(c.local, &l)
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

// Snapshot returns the current state.
func (c *Client) Snapshot() (s discovery.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s = c.snap
	s.Problems = append(slices.Clip(c.found), c.refused...)
	return s
}

// update changes the snapshot and signals it.
func (c *Client) update(change func(*discovery.Snapshot)) {
	c.mu.Lock()
	change(&c.snap)
	c.mu.Unlock()
	c.changed.Notify()
}

// report replaces one of the two lists of problems. The reader of the snapshot reports
// them to the user; here they are logged for debugging only.
func (c *Client) report(list *[]discovery.Problem, problems []discovery.Problem) {
	c.mu.Lock()
	old := *list
	*list = problems
	c.mu.Unlock()
	if slices.Equal(old, problems) {
		return
	}
	c.changed.Notify()
	known := make(map[discovery.Problem]bool, len(old))
	for _, p := range old {
		known[p] = true
	}
	for _, p := range problems {
		if !known[p] {
			c.log.Debug("discovery problem", "affiliate", p.AffiliateID, "reason", p.Reason)
		}
	}
}

func checkEndpoint(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("endpoint %.300q: not host:port", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("endpoint %.300q: port is not 1 to 65535", s)
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostname(host) {
		return fmt.Errorf("endpoint %.300q: not a host name or IP address", s)
	}
	return nil
}

func hostname(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 253
}
