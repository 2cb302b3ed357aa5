package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/mesh/control/http1"

	"github.com/wirespan/wirespan/device/splice"
)

const (
	pingTimeout    = 5 * time.Second // unless the request has another
	maxPingTimeout = time.Minute
	maxPingSize    = 1<<16 - 1 // bytes of data; the tunnel's MTU is smaller
	dialTimeout    = 10 * time.Second
)

// errNoAccess is the answer of an agent without an [Access].
const errNoAccess = "this agent gives programs no way into the mesh"

// connect joins the client to host:port in the mesh (HTTP CONNECT, RFC 9110 §9.3.6). ctx ends
// with the client's half-close, so the tunnel has another context.
func (c *Server) connect(ctx, tunnel context.Context, w *http1.Response, r *http1.Request) {
	if c.cfg.Access == nil {
		w.Error(errNoAccess, http1.StatusNotImplemented)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	far, err := c.cfg.Access.DialContext(ctx, "tcp", r.Host)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		err = fmt.Errorf("connect to %s: no answer within %s", r.Host, dialTimeout)
	}
	if err != nil {
		w.Error(err.Error(), http1.StatusBadGateway)
		return
	}
	defer far.Close()
	conn, in, err := w.Tunnel()
	if err != nil {
		return // the client has gone
	}
	near := &bufferedConn{conn.(*connection).UnixConn, in}
	_ = splice.Join(tunnel, near, far, 0, nil)
}

// lookup takes the parameter name.
func (c *Server) lookup(ctx context.Context, w *http1.Response, r *http1.Request) {
	if c.cfg.Access == nil {
		w.Error(errNoAccess, http1.StatusNotImplemented)
		return
	}
	addrs, err := c.cfg.Access.Lookup(r.Query.Get("name"))
	if err != nil {
		w.Error(err.Error(), http1.StatusNotFound)
		return
	}
	writeJSON(w, LookupReply{addrs})
}

// LookupReply is the answer to a query for a name.
type LookupReply struct {
	Addresses []netip.Addr `json:"addresses"`
}

// proxy runs a proxy for as long as the client stays.
func (c *Server) proxy(ctx context.Context, w *http1.Response, r *http1.Request) {
	if c.cfg.Access == nil {
		w.Error(errNoAccess, http1.StatusNotImplemented)
		return
	}
	stream(w, func(send func(any) bool) {
		if err := c.cfg.Access.Proxy(ctx, func(p ProxyReply) { send(p) }); err != nil {
			send(ProxyReply{Error: err.Error()})
		}
	})
}

// PingReply is the answer to one ping.
type PingReply struct {
	RTT time.Duration `json:"rtt"` // ns
}

// NoReply is the code of the [Refusal] of a ping to which no reply came in time.
const NoReply = http1.StatusGatewayTimeout

// ping takes the parameters address, timeout and size.
func (c *Server) ping(ctx context.Context, w *http1.Response, r *http1.Request) {
	values := r.Query
	addr, err := netip.ParseAddr(values.Get("address"))
	if err != nil {
		w.Error(fmt.Sprintf("parameter address: %q is not an IP address", values.Get("address")), http1.StatusBadRequest)
		return
	}
	timeout := pingTimeout
	if text := values.Get("timeout"); text != "" {
		if timeout, err = time.ParseDuration(text); err != nil || timeout <= 0 || timeout > maxPingTimeout {
			w.Error(fmt.Sprintf("parameter timeout: %q is not a duration up to %s", text, maxPingTimeout), http1.StatusBadRequest)
			return
		}
	}
	size := 0
	if text := values.Get("size"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 0 || size > maxPingSize {
			w.Error(fmt.Sprintf("parameter size: %q is not a number of bytes up to %d", text, maxPingSize), http1.StatusBadRequest)
			return
		}
	}
	if err := c.cfg.Agent.Status().Reaches(addr); err != nil {
		w.Error(err.Error(), http1.StatusBadGateway)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rtt, err := c.cfg.Agent.Ping(ctx, addr, size)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no reply within %s", timeout)
	}
	if err != nil {
		w.Error(err.Error(), NoReply)
		return
	}
	writeJSON(w, PingReply{rtt})
}
