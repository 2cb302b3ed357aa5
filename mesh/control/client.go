package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh/agent"
)

const (
	// answerTimeout is how long a client waits for an answer that takes the
	// agent no time of its own.
	answerTimeout = 5 * time.Second
	// leaveTimeout adds what an agent takes to tell its discovery services.
	leaveTimeout = 20 * time.Second
	maxErrorText = 64 << 10
	endedPoll    = 10 * time.Millisecond
)

// ErrNoAgent reports that no process listens on the control socket.
var ErrNoAgent = errors.New("no agent is running")

// Refusal is an answer of the agent that is not a success.
type Refusal struct {
	Code int // HTTP status
	Text string
}

func (e *Refusal) Error() string { return e.Text }

// Client talks to an agent over its control socket. Every call ends within
// seconds even if the agent is stopped; a watch does once it has begun. A
// Client may be used by several goroutines.
type Client struct {
	path    string
	http    *http.Client
	timeout time.Duration
	pid     atomic.Int32 // of the process that listens; 0: not connected yet
}

// NewClient returns a client of the socket at path. It opens nothing yet.
func NewClient(path string) *Client {
	c := &Client{path: path, timeout: answerTimeout}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := c.dial(ctx)
			if err != nil {
				return nil, err // a nil *net.UnixConn is no nil net.Conn
			}
			return conn, nil
		},
	}}
	return c
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

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

// ResourceQuery selects resources of one type.
type ResourceQuery struct {
	Type    agent.ResourceType
	ID      string // empty: all
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
	return list, c.call(ctx, q.request(), &list)
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
	err = c.call(ctx, request{method: http.MethodPost, path: "/v1/reload"}, &reply)
	return reply.Restart, err
}

// Leave makes the node leave the mesh and its agent end.
func (c *Client) Leave(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/leave", timeout: leaveTimeout}, nil)
}

// Accept accepts the changed key or address of a node, by node id or nodename.
func (c *Client) Accept(ctx context.Context, node string) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/v1/accept", query: url.Values{"node": {node}}}, nil)
}

// Ping sends one echo request through the tunnel and returns the round-trip
// time. A peer that does not reply is a [Refusal] with status 504.
func (c *Client) Ping(ctx context.Context, addr netip.Addr) (time.Duration, error) {
	var reply PingReply
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/v1/ping", query: url.Values{"address": {addr.String()}}, timeout: pingTimeout + answerTimeout,
	}, &reply)
	return reply.RTT, err
}

// Explain says where a packet goes.
func (c *Client) Explain(ctx context.Context, q agent.ExplainQuery) (e agent.Explanation, err error) {
	values := url.Values{"to": {q.To.String()}}
	if q.Port != 0 {
		values.Set("port", strconv.Itoa(int(q.Port)))
	}
	if q.Protocol != "" {
		values.Set("protocol", string(q.Protocol))
	}
	if q.From != "" {
		values.Set("from", q.From)
	}
	return e, c.call(ctx, request{path: "/v1/explain", query: values}, &e)
}

// Ended waits until the agent has ended: its socket then goes.
func (c *Client) Ended(ctx context.Context) error {
	for {
		err := c.WatchStatus(ctx, func(*agent.Status) (bool, error) { return true, nil })
		if errors.Is(err, ErrNoAgent) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(endedPoll):
		}
	}
}

// Connect opens a TCP connection to IP:PORT through the mesh of a netstack
// node (HTTP CONNECT).
func (c *Client) Connect(ctx context.Context, target string) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, c.explain(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout + answerTimeout))
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return nil, errors.Join(c.explain(err), conn.Close())
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, errors.Join(c.explain(err), conn.Close())
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(refusal(resp), conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	return &bufferedConn{conn, in}, nil
}

// bufferedConn is a connection of which something may have been read already.
// Like a TCP connection it can be closed in one direction.
type bufferedConn struct {
	*net.UnixConn
	in *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.in.Read(p) }

func (c *Client) dial(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, err
	}
	unixConn := conn.(*net.UnixConn)
	if cred, ok := peerCredentials(unixConn); ok {
		c.pid.Store(cred.Pid)
	}
	return unixConn, nil
}

// request is one call.
type request struct {
	method  string // default GET
	path    string
	query   url.Values
	timeout time.Duration // more than the client's; 0: the client's
}

// errSilent ends a call that got no answer in time.
var errSilent = errors.New("no answer in time")

// call makes one request and decodes the answer, whole, in time.
func (c *Client) call(ctx context.Context, r request, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, max(r.timeout, c.timeout), errSilent)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return c.explain(cause(ctx, err))
	}
	return nil
}

// watch calls each with every line of a stream. Only the wait for the first
// byte of the answer is bounded.
func watch[T any](ctx context.Context, c *Client, r request, each func(T) (more bool, err error)) error {
	if r.query == nil {
		r.query = url.Values{}
	}
	r.query.Set("watch", "1")
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(c.timeout, func() { cancel(errSilent) })
	resp, err := c.send(ctx, r)
	late.Stop()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var v T
		if err := dec.Decode(&v); err != nil {
			if outer.Err() != nil {
				return outer.Err()
			}
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return errors.New("the agent has stopped")
			}
			return c.explain(err)
		}
		if more, err := each(v); err != nil || !more {
			return err
		}
	}
}

// send makes one request. The body must be closed by the caller.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "wirespan", Path: r.path, RawQuery: r.query.Encode()}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(cause(ctx, err))
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp, nil
}

// cause returns why ctx has ended, if it has, instead of err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText))
	return &Refusal{resp.StatusCode, strings.TrimSpace(string(text))}
}

// explain says what an error means and what to do about it.
func (c *Client) explain(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, errSilent), errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the agent (pid %d) does not answer on control socket %s: it may be stopped, or overloaded", c.pid.Load(), c.path)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w on control socket %s (start one with wirespan up, or name its socket with --control-socket)", ErrNoAgent, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("control socket %s: %w (be root, the agent's user, or a member of group wirespan)", c.path, fs.ErrPermission)
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("control socket %s: the agent has hung up: it is stopping, or has too many connections", c.path)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("control socket %s: %w", c.path, err)
}
