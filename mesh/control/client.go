package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/mesh/control/http1"

	"github.com/wirespan/wirespan/mesh/agent"
)

const (
	// leaveTimeout is how long an agent takes at most to tell its discovery services.
	leaveTimeout = 20 * time.Second
	// endTimeout is how long an agent takes at most to end once it has left.
	endTimeout = 20 * time.Second
	endedPoll  = 10 * time.Millisecond
)

// ErrNoAgent reports that no process listens on the control socket.
var ErrNoAgent = errors.New("no agent is running")

// Refusal is an answer of the agent that is not a success.
type Refusal struct {
	Code int // HTTP status
	Text string
}

func (e *Refusal) Error() string { return e.Text }

// Client talks to an agent over its control socket. Every call and every watch
// ends within seconds if the agent does not answer, because it is stopped, say.
// A Client may be used by several goroutines.
type Client struct {
	path    string
	timeout time.Duration
	pid     atomic.Int32 // of the process that listens; 0: not connected yet
}

// NewClient returns a client of the socket at path. It keeps no connection open.
func NewClient(path string) *Client { return &Client{path: path, timeout: answerTimeout} }

// Status returns the agent's status.
func (c *Client) Status(ctx context.Context) (*agent.Status, error) {
	s := new(agent.Status)
	return s, c.call(ctx, request{path: "/v1/status"}, s)
}

// WatchStatus calls each with the status and with every change of it, until it
// returns false or an error, the agent stops or ctx is done.
func (c *Client) WatchStatus(ctx context.Context, each func(*agent.Status) (more bool, err error)) error {
	return watch(ctx, c, request{path: "/v1/status"}, each)
}

// Lookup returns the mesh's addresses of a name.
func (c *Client) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	var reply LookupReply
	err := c.call(ctx, request{path: "/v1/lookup", query: query("name", name)}, &reply)
	return reply.Addresses, err
}

// Proxy has the agent run a proxy while use runs.
func (c *Client) Proxy(ctx context.Context, use func(ProxyReply) error) error {
	return watch(ctx, c, request{method: http1.MethodPost, path: "/v1/proxy"}, func(p ProxyReply) (bool, error) {
		if p.Error != "" {
			return false, errors.New(p.Error)
		}
		return false, use(p)
	})
}

// ResourceQuery selects resources of one type.
type ResourceQuery struct {
	Type    agent.ResourceType
	ID      string // an id, or a name or an address that belongs to it; empty: all
	Secrets bool   // private keys and the cluster's secret, for owners
}

func (q ResourceQuery) request() request {
	values := url.Values{}
	if q.ID != "" {
		values.Set("id", q.ID)
	}
	if q.Secrets {
		values.Set("secrets", "1")
	}
	return request{path: "/v1/resources/" + q.Type.Name, query: values}
}

// Resources lists resources, sorted by id.
func (c *Client) Resources(ctx context.Context, q ResourceQuery) (list []agent.Resource, err error) {
	err = c.call(ctx, q.request(), &list)
	return list, err
}

// WatchResources is WatchStatus for resources: first those there are, as
// created, then every change.
func (c *Client) WatchResources(ctx context.Context, q ResourceQuery, each func(agent.Event) (more bool, err error)) error {
	return watch(ctx, c, q.request(), each)
}

// Health returns nil if the check ("live" or "ready") succeeds, and otherwise
// why it does not.
func (c *Client) Health(ctx context.Context, check string) error {
	return c.call(ctx, request{path: "/v1/health/" + check}, nil)
}

// Reload makes the agent read its configuration again. It returns the changed
// settings that wait for a restart.
func (c *Client) Reload(ctx context.Context) (restart []string, err error) {
	var reply ReloadReply
	err = c.call(ctx, request{method: http1.MethodPost, path: "/v1/reload"}, &reply)
	return reply.Restart, err
}

// Leave makes the node leave the mesh and its agent end.
func (c *Client) Leave(ctx context.Context) error {
	return c.call(ctx, request{method: http1.MethodPost, path: "/v1/leave", work: leaveTimeout}, nil)
}

// Accept accepts the changed key or address of a node, by node id or nodename.
func (c *Client) Accept(ctx context.Context, node string) error {
	return c.post(ctx, "/v1/accept", node)
}

// Expel ends the membership of nodes, by node id or nodename. Only a founder can do that.
func (c *Client) Expel(ctx context.Context, nodes []string) error {
	return c.post(ctx, "/v1/expel", nodes...)
}

// RotateSecret changes the secret of the mesh. Only a founder can do that.
func (c *Client) RotateSecret(ctx context.Context) error {
	return c.post(ctx, "/v1/secret/rotate")
}

// ReplaceAuthority makes another key the mesh's authority. Only a founder can do that.
func (c *Client) ReplaceAuthority(ctx context.Context) error {
	return c.post(ctx, "/v1/authority/replace")
}

// Forget forgets what is remembered of a node, by node id or nodename.
func (c *Client) Forget(ctx context.Context, node string) error {
	return c.post(ctx, "/v1/forget", node)
}

// query returns parameters of a request, each of which follows its name.
func query(pairs ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values
}

// post asks for a change that is about nodes, or about none.
func (c *Client) post(ctx context.Context, path string, nodes ...string) error {
	return c.call(ctx, request{method: http1.MethodPost, path: path, query: url.Values{"node": nodes}}, nil)
}

// Token makes a join token that so many nodes may use.
func (c *Client) Token(ctx context.Context, uses int, lifetime time.Duration) (string, error) {
	var reply TokenReply
	err := c.call(ctx, request{
		method: http1.MethodPost, path: "/v1/token",
		query: query("uses", strconv.Itoa(uses), "lifetime", lifetime.String()),
	}, &reply)
	return reply.Token, err
}

// Ping sends one echo request with so many bytes of data through the tunnel and returns the
// round-trip time. A peer that does not reply within timeout is a [Refusal] with the code [NoReply].
func (c *Client) Ping(ctx context.Context, addr netip.Addr, size int, timeout time.Duration) (time.Duration, error) {
	var reply PingReply
	err := c.call(ctx, request{
		method: http1.MethodPost, path: "/v1/ping", work: timeout,
		query: query("address", addr.String(), "timeout", timeout.String(), "size", strconv.Itoa(size)),
	}, &reply)
	return reply.RTT, err
}

// Explain says where a packet goes.
func (c *Client) Explain(ctx context.Context, q agent.ExplainQuery) (e agent.Explanation, err error) {
	values := query("to", q.To.String())
	if q.Port != 0 {
		values.Set("port", strconv.Itoa(int(q.Port)))
	}
	if q.Protocol != "" {
		values.Set("protocol", string(q.Protocol))
	}
	if q.From != "" {
		values.Set("from", q.From)
	}
	err = c.call(ctx, request{path: "/v1/explain", query: values}, &e)
	return e, err
}

// Ended waits until the agent has ended: its socket then goes. It gives up after
// endTimeout.
func (c *Client) Ended(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endTimeout, fmt.Errorf("the agent (pid %d) has not ended after %s", c.pid.Load(), endTimeout))
	defer cancel()
	for {
		err := c.WatchStatus(ctx, func(*agent.Status) (bool, error) { return true, nil })
		if errors.Is(err, ErrNoAgent) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(endedPoll):
		}
	}
}
