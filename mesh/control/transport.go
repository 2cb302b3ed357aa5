package control

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/wirespan/wirespan/mesh/control/http1"

	"golang.org/x/sys/unix"
)

const (
	// answerTimeout is how long a client waits for an answer that takes the
	// agent no time of its own.
	answerTimeout = 5 * time.Second
	maxErrorText  = 64 << 10
)

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
	method string // default GET
	path   string
	query  url.Values
	work   time.Duration // that the agent needs before it answers; 0: next to none
}

// errSilent ends a call that got no answer in time.
var errSilent = errors.New("no answer in time")

// silence says that the agent does not answer. It unwraps to the end of the
// caller's context, if that was what ended the call.
type silence struct {
	text  string
	cause error
}

func (e *silence) Error() string { return e.text }
func (e *silence) Unwrap() error { return e.cause }

// call makes one request and decodes the answer, whole, in time. An agent that
// does not answer is noticed before it is asked for work that takes longer.
func (c *Client) call(ctx context.Context, r request, into any) error {
	if r.work > 0 {
		if err := c.answers(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout+r.work, errSilent)
	defer cancel()
	reply, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer reply.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(reply.Body).Decode(into); err != nil {
		return c.explain(cause(ctx, err))
	}
	return nil
}

// answers returns nil if the agent answers, whatever it says.
func (c *Client) answers(ctx context.Context) error {
	err := c.call(ctx, request{path: "/v1/health/live"}, nil)
	if errors.As(err, new(*Refusal)) {
		return nil
	}
	return err
}

// watch calls each with every line of a stream.
func watch[T any](ctx context.Context, c *Client, r request, each func(T) (more bool, err error)) error {
	return c.stream(ctx, r, func(decode func(into any) error) (more bool, err error) {
		var v T
		if err := decode(&v); err != nil {
			return false, err
		}
		return each(v)
	})
}

// stream calls each for every line of a stream, which decodes it. Between two lines, which
// may be long, the agent is asked whether it still answers.
func (c *Client) stream(ctx context.Context, r request, each func(decode func(into any) error) (more bool, err error)) error {
	if r.query == nil {
		r.query = url.Values{}
	}
	r.query.Set("watch", "1")
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(c.timeout, func() { cancel(errSilent) })
	reply, err := c.send(ctx, r)
	late.Stop()
	if err != nil {
		return err
	}
	defer reply.Close()
	go c.listen(ctx, cancel)
	lines := json.NewDecoder(reply.Body)
	decode := func(into any) error {
		err := lines.Decode(into)
		switch {
		case err == nil:
			return nil
		case outer.Err() != nil:
			return outer.Err()
		case ctx.Err() != nil:
			return c.explain(context.Cause(ctx))
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the agent has stopped")
		}
		return c.explain(err)
	}
	for {
		if more, err := each(decode); err != nil || !more {
			return err
		}
	}
}

// listen cancels a watch when the agent no longer answers. It returns when ctx is
// done.
func (c *Client) listen(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(c.timeout)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.answers(ctx); errors.As(err, new(*silence)) && ctx.Err() == nil {
			cancel(errSilent)
		}
	}
}

// reply is an answer that is a success. It must be closed.
type reply struct {
	*http1.Reply
	net.Conn
	stop func() bool // closing the connection when the context ends
}

func (r *reply) Close() {
	r.stop()
	_ = r.Conn.Close()
}

// send makes one request. What is read of the answer fails when ctx ends.
func (c *Client) send(ctx context.Context, r request) (*reply, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, c.explain(cause(ctx, err))
	}
	got := &reply{Conn: conn, stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	target := url.URL{Path: r.path, RawQuery: r.query.Encode()}
	got.Reply, err = http1.Do(conn, cmp.Or(r.method, http1.MethodGet), target.String())
	switch {
	case err != nil:
		err = c.explain(cause(ctx, err))
	case got.Code != http1.StatusOK:
		err = refusal(got.Reply)
	default:
		return got, nil
	}
	got.Close()
	return nil, err
}

// cause returns why ctx has ended, if it has, instead of err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func refusal(r *http1.Reply) error {
	text, _ := io.ReadAll(io.LimitReader(r.Body, maxErrorText))
	return &Refusal{r.Code, strings.TrimSpace(string(text))}
}

// silence says that the agent does not answer.
func (c *Client) silence(cause error) error {
	who := "the agent"
	if pid := c.pid.Load(); pid != 0 {
		who = fmt.Sprintf("the agent (pid %d)", pid)
	}
	return &silence{fmt.Sprintf("%s does not answer on control socket %s: it may be stopped, or overloaded", who, c.path), cause}
}

// explain says what an error means and what to do about it.
func (c *Client) explain(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return c.silence(context.DeadlineExceeded)
	case errors.Is(err, errSilent), errors.As(err, &timeout) && timeout.Timeout():
		return c.silence(errSilent)
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w on control socket %s (start one with wirespan up, or name its socket with --control-socket)", ErrNoAgent, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("control socket %s: %w (be root, the agent's user, or a member of group wirespan)", c.path, fs.ErrPermission)
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("control socket %s: the agent has hung up: it is stopping, or has too many connections", c.path)
	}
	return fmt.Errorf("control socket %s: %w", c.path, err)
}

// Connect opens a TCP connection to host:port in the mesh (HTTP CONNECT).
func (c *Client) Connect(ctx context.Context, target string) (net.Conn, error) {
	if err := c.answers(ctx); err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, c.explain(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout + answerTimeout))
	got, err := http1.Do(conn, http1.MethodConnect, target)
	if err != nil {
		return nil, errors.Join(c.explain(err), conn.Close())
	}
	if got.Code != http1.StatusOK {
		return nil, errors.Join(refusal(got), conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	return &bufferedConn{conn, got.Body}, nil
}

// bufferedConn is a connection of which something may have been read already.
// Like a TCP connection it can be closed in one direction.
type bufferedConn struct {
	*net.UnixConn
	in *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.in.Read(p) }
