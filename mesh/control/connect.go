package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

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

// connect joins the client to host:port in the mesh (HTTP CONNECT, RFC 9110 §9.3.6).
func (c *Server) connect(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Access == nil {
		http.Error(w, errNoAccess, http.StatusNotImplemented)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), dialTimeout)
	far, err := c.cfg.Access.DialContext(ctx, "tcp", r.Host)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		err = fmt.Errorf("connect to %s: no answer within %s", r.Host, dialTimeout)
	}
	cancel()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	c.tunnels.Add(1)
	defer c.tunnels.Done()
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	// The request's context won't do: it ends with the client's half-close.
	near := &bufferedConn{conn.(*connection).UnixConn, buf.Reader}
	_ = splice.Join(callerOf(r).running, near, far, 0, nil)
}

// lookup takes the parameter name.
func (c *Server) lookup(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Access == nil {
		http.Error(w, errNoAccess, http.StatusNotImplemented)
		return
	}
	addrs, err := c.cfg.Access.Lookup(r.URL.Query().Get("name"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	writeJSON(w, LookupReply{addrs})
}

// LookupReply is the answer to a query for a name.
type LookupReply struct {
	Addresses []netip.Addr `json:"addresses"`
}

// proxy runs a proxy for as long as the client stays.
func (c *Server) proxy(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Access == nil {
		http.Error(w, errNoAccess, http.StatusNotImplemented)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(callerOf(r).running, cancel)()
	stream(w, r, func(send func(any) bool) {
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
const NoReply = http.StatusGatewayTimeout

// ping takes the parameters address, timeout and size.
func (c *Server) ping(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	addr, err := netip.ParseAddr(values.Get("address"))
	if err != nil {
		http.Error(w, fmt.Sprintf("parameter address: %q is not an IP address", values.Get("address")), http.StatusBadRequest)
		return
	}
	timeout := pingTimeout
	if text := values.Get("timeout"); text != "" {
		if timeout, err = time.ParseDuration(text); err != nil || timeout <= 0 || timeout > maxPingTimeout {
			http.Error(w, fmt.Sprintf("parameter timeout: %q is not a duration up to %s", text, maxPingTimeout), http.StatusBadRequest)
			return
		}
	}
	size := 0
	if text := values.Get("size"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 0 || size > maxPingSize {
			http.Error(w, fmt.Sprintf("parameter size: %q is not a number of bytes up to %d", text, maxPingSize), http.StatusBadRequest)
			return
		}
	}
	if err := c.cfg.Agent.Status().Reaches(addr); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	rtt, err := c.cfg.Agent.Ping(ctx, addr, size)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no reply within %s", timeout)
	}
	if err != nil {
		http.Error(w, err.Error(), NoReply)
		return
	}
	writeJSON(w, PingReply{rtt})
}
