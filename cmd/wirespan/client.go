package main

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
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// client talks to the agent over its control socket.
type client struct {
	path string
	http *http.Client
}

// errNoAgent says that nothing answers on the control socket.
var errNoAgent = errors.New("no agent is running")

func (c *cli) client() (*client, error) {
	cfg, err := c.loadForClient()
	if err != nil {
		return nil, err
	}
	path, err := controlSocket(cfg)
	if _, missing := os.Stat(path); cfg.ControlSocket == "" && (err != nil || missing != nil) {
		// No agent of this user's own: ask the system's, if there is one.
		if _, missing := os.Stat(systemSocket); missing == nil {
			return newClient(systemSocket), nil
		}
	}
	if err != nil {
		return nil, err
	}
	return newClient(path), nil
}

func newClient(path string) *client {
	var d net.Dialer
	return &client{path, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}
}

// call makes one request. A body must be closed by the caller.
func (c *client) call(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "wirespan", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return nil, &callError{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	return resp, nil
}

// callError is an answer of the agent that is not a success.
type callError struct {
	code int
	text string
}

func (e *callError) Error() string { return e.text }

func (c *client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w on control socket %s (start one with wirespan up, or name its socket with --control-socket)", errNoAgent, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("control socket %s: %w (be root, the agent's user, or a member of group wirespan)", c.path, fs.ErrPermission)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("control socket %s: the agent has hung up: it is stopping, or has too many connections", c.path)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("control socket %s: %w", c.path, err)
}

func (c *client) getJSON(ctx context.Context, path string, query url.Values, into any) error {
	resp, err := c.call(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("control socket %s: answer to %s: %w", c.path, path, err)
	}
	return nil
}

// watchJSON calls each with every line of a stream, until it returns false,
// the agent stops or ctx is done.
func watchJSON[T any](ctx context.Context, c *client, path string, query url.Values, each func(T) (bool, error)) error {
	query.Set("watch", "1")
	resp, err := c.call(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var v T
		if err := dec.Decode(&v); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return errors.New("the agent has stopped")
			}
			return fmt.Errorf("control socket %s: %w", c.path, err)
		}
		if more, err := each(v); err != nil || !more {
			return err
		}
	}
}

func (c *client) post(ctx context.Context, path string, query url.Values, into any) error {
	resp, err := c.call(ctx, http.MethodPost, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// ended waits until the agent has ended: its socket then goes.
func (c *client) ended(ctx context.Context) error {
	for {
		err := watchJSON(ctx, c, "/v1/status", url.Values{}, func(json.RawMessage) (bool, error) { return true, nil })
		if errors.Is(err, errNoAgent) {
			return nil
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// connect opens a TCP connection through the mesh of a netstack node (HTTP
// CONNECT on the control socket).
func (c *client) connect(ctx context.Context, target string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, c.explain(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return nil, errors.Join(c.explain(err), conn.Close())
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, errors.Join(c.explain(err), conn.Close())
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return nil, errors.Join(&callError{resp.StatusCode, strings.TrimSpace(string(text))}, conn.Close())
	}
	return &bufferedConn{conn, in}, nil
}

// bufferedConn is a connection of which something may have been read already.
type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.in.Read(p) }
