package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
)

// clientKey is the key under which a request's context has its *headConn.
type clientKey struct{}

func clientOf(r *http.Request) *headConn { return r.Context().Value(clientKey{}).(*headConn) }

// serveHTTP hands a connection to net/http. The first byte was read already.
func (v *service) serveHTTP(c *client, first byte) {
	_ = c.SetDeadline(time.Time{})
	if h := v.newHeadConn(c, first); !v.toWeb.give(h) {
		_ = h.Close()
	}
}

// newWebServer returns net/http's server for clients of HTTP.
func (v *service) newWebServer(ctx context.Context, transport http.RoundTripper) *http.Server {
	logger := v.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	forward := v.newForwarder(transport)
	forward.ErrorLog = logger
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			done, ok := v.begin()
			if !ok {
				return
			}
			defer done()
			v.handle(ctx, w, r, forward)
		}),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, c)
		},
		ReadHeaderTimeout:            v.limits.Handshake,
		IdleTimeout:                  keepAlive,
		MaxHeaderBytes:               v.limits.HeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     logger,
	}
}

// handle serves a request.
func (v *service) handle(ctx context.Context, w http.ResponseWriter, r *http.Request, forward http.Handler) {
	c := clientOf(r)
	to, refused := v.check(c, r)
	switch {
	case refused != nil:
		v.log.Debug("request refused", "client", c.RemoteAddr(), "error", refused.why)
		if refused.status == http.StatusProxyAuthRequired {
			w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		}
		http.Error(w, refused.why, refused.status)
	case r.Method == http.MethodConnect:
		v.connectHTTP(ctx, w, r, to)
	default:
		w.Header()["Content-Type"] = nil // net/http is not to guess one
		expects := r.Header.Get("Expect") != "" && r.ContentLength != 0
		forward.ServeHTTP(unreading{w, c, expects}, r)
	}
}

// check returns where a request may go.
func (v *service) check(c *headConn, r *http.Request) (target, *refusal) {
	// The head of the next request may be refused while this one is served.
	if refused := c.refused.Load(); refused != nil && r.Host == refusedHost {
		return target{}, refused
	}
	ok, given := v.credentials.matchHeader(r.Header.Get("Proxy-Authorization"))
	switch {
	case ok:
	case given:
		v.counters.authFailures.Add(1)
		return target{}, &refusal{http.StatusProxyAuthRequired, "wrong user or password for this proxy"}
	default:
		return target{}, &refusal{http.StatusProxyAuthRequired, "this proxy needs a user and a password"}
	}
	to, refused := destination(r)
	if refused == nil && isSelf(c.LocalAddr(), to) {
		refused = &refusal{http.StatusForbidden, fmt.Sprintf("%s is this proxy", to)}
	}
	return to, refused
}

// destination returns where a request is to go.
func destination(r *http.Request) (target, *refusal) {
	host, port := r.URL.Hostname(), cmp.Or(r.URL.Port(), "80")
	switch scheme := r.URL.Scheme; {
	case r.Method == http.MethodConnect:
		var err error
		if host, port, err = net.SplitHostPort(r.RequestURI); err != nil {
			return target{}, malformed("CONNECT needs HOST:PORT, not %q", r.RequestURI)
		}
	case scheme == "":
		return target{}, malformed("this is a proxy, not a web server: set it as the proxy of a client, and ask for http://HOST/PATH")
	case scheme == "https":
		return target{}, malformed("https:// through a proxy needs CONNECT")
	case scheme != "http":
		return target{}, malformed("this proxy knows http://, and CONNECT for everything else, but not %q", scheme)
	case r.Method == http.MethodTrace:
		return target{}, &refusal{http.StatusMethodNotAllowed, "TRACE would show what proxies add to a request"}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || number == 0:
		return target{}, malformed("port %q is not between 1 and 65535", port)
	case !isHost(host):
		return target{}, malformed("host %q", host)
	}
	return target{host, uint16(number)}, nil
}

// connectHTTP is the method CONNECT.
func (v *service) connectHTTP(ctx context.Context, w http.ResponseWriter, r *http.Request, to target) {
	far, err := v.dial(r.Context(), to.String())
	if err != nil {
		v.replyFailure(w, to, err)
		return
	}
	near, _, err := unreading{ResponseWriter: w, conn: clientOf(r)}.Hijack()
	if err != nil {
		_ = far.Close()
		return
	}
	c, early := near.(*headConn).detach()
	done, ok := v.begin()
	if !ok {
		c.release()
		_ = far.Close()
		return
	}
	// A goroutine of its own, so that net/http's memory for this connection is free.
	go func() {
		defer done()
		defer c.release()
		v.tunnel(ctx, c.Conn, far, []byte("HTTP/1.1 200 Connection established\r\n\r\n"), early)
	}()
}

// replyFailure says why a destination was not reached.
func (v *service) replyFailure(w http.ResponseWriter, to target, err error) {
	if errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the client is gone, or the proxy is stopping
	}
	v.log.Debug("request failed", "destination", to, "error", err)
	http.Error(w, fmt.Sprintf("%s: %s", to, err), statusOf(err))
}

// statusOf returns the status for a destination that was not reached.
func statusOf(err error) int {
	switch failureOf(err) {
	case failNotAllowed:
		return http.StatusForbidden
	case failTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}
