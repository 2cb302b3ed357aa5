package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

const (
	dialTimeout  = 8 * time.Second
	pingInterval = 30 * time.Second // of an HTTP/2 connection on which nothing arrives
	pingTimeout  = 15 * time.Second

	// Some proxies hold the start of a watch back until its first event; a server sends a
	// bookmark every minute.
	headerTimeout = 90 * time.Second

	maxRetryAfter = 10 * time.Minute

	maxHeaderSize = 64 << 10
	maxAnswerSize = 64 << 20 // of anything but a watch; a page of a list has 1 to 10 MB
	maxEventSize  = 4 << 20  // of one event of a watch; etcd takes objects of up to 1.5 MB
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newDialer returns a function whose sockets, also those of DNS look-ups, go through control.
func newDialer(control func(network, address string, c syscall.RawConn) error) dialFunc {
	d := &net.Dialer{Control: control, Timeout: dialTimeout}
	if control != nil {
		d.Resolver = &net.Resolver{PreferGo: true, Dial: (&net.Dialer{Control: control}).DialContext}
	}
	return d.DialContext
}

// connections are the open connections to the API.
type connections struct {
	dial dialFunc

	mu     sync.Mutex
	open   map[*connection]bool
	remote netip.Addr // of the last one
}

type connection struct {
	net.Conn
	all *connections
}

func (c *connections) connect(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &connection{raw, c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[conn] = true
	if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = tcp.AddrPort().Addr().Unmap()
	}
	return conn, nil
}

// Close is part of [net.Conn].
func (c *connection) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// server returns the address that the last connection led to.
func (c *connections) server() netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// cut closes the connections, so that what runs over them starts anew.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		_ = conn.Conn.Close()
	}
	clear(c.open)
}

// newREST returns a client of the API, and a function that ends its connections.
func newREST(a *access, conns *connections, userAgent string) (client *rest.RESTClient, closeIdle func(), err error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	t := &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return a.via(r.URL) },
		DialContext:            conns.connect,
		TLSClientConfig:        a.tls,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		IdleConnTimeout:        90 * time.Second,
		Protocols:              protocols,
		MaxResponseHeaderBytes: maxHeaderSize,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingInterval, PingTimeout: pingTimeout},
	}
	h := &http.Client{
		Transport:     limited{identified{authorized{t, a}, userAgent}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // else the token might go elsewhere
	}
	content := rest.ClientContentConfig{
		ContentType: runtime.ContentTypeJSON, GroupVersion: version, Negotiator: runtime.NewClientNegotiator(newSerializer(), version),
	}
	client, err = rest.NewRESTClient(a.server, "api/v1", content, nil, h)
	return client, t.CloseIdleConnections, err
}

// via returns the proxy for the API, or nil.
func (a *access) via(u *url.URL) (*url.URL, error) {
	via, err := a.proxy(u)
	if err != nil { // the text of err may contain a password
		return nil, errors.New("proxy environment variable is not a URL")
	}
	return via, nil
}

type identified struct {
	next      http.RoundTripper
	userAgent string
}

func (t identified) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", t.userAgent)
	return t.next.RoundTrip(r)
}

// limited bounds what the server makes the client read at once.
type limited struct{ next http.RoundTripper }

func (t limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if o, ok := r.Context().Value(outcomeKey{}).(*outcome); ok {
		o.err, o.retryAfter = err, retryAfter(resp)
	}
	if err != nil {
		return nil, err
	}
	body := &boundedBody{ReadCloser: resp.Body, room: maxAnswerSize, size: maxAnswerSize}
	if r.URL.Query().Get("watch") == "true" && resp.StatusCode == http.StatusOK {
		body.room, body.size, body.lines = maxEventSize, maxEventSize, true
	}
	resp.Body = body
	return resp, nil
}

// outcome is what became of the last attempt of a request, in its context.
type outcome struct {
	err        error
	retryAfter time.Duration // what the server asks for; 0: nothing
}

type outcomeKey struct{}

// retryAfter returns how long a server wants to be left alone.
func retryAfter(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// boundedBody returns an error after size bytes, or after a line of so many.
type boundedBody struct {
	io.ReadCloser
	room, size int
	lines      bool
}

var errTooLarge = errors.New("the API server's answer is too large")

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.room <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.room)])
	b.room -= n
	if i := bytes.LastIndexByte(p[:n], '\n'); i >= 0 && b.lines {
		b.room = b.size - (n - i - 1)
	}
	if err != nil && b.lines && !errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // a watch that breaks is resumed
	}
	return n, err
}
