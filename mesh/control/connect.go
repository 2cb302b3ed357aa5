package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	pingTimeout    = 5 * time.Second // unless the request has another
	maxPingTimeout = time.Minute
	maxPingSize    = 1<<16 - 1 // bytes of data; the tunnel's MTU is smaller
	dialTimeout    = 10 * time.Second
)

// connect joins the client to a TCP address on the mesh (HTTP CONNECT, RFC 9110
// §9.3.6): the way into the mesh for local programs of a netstack node.
func (c *Server) connect(w http.ResponseWriter, r *http.Request) {
	if c.cfg.Dial == nil {
		http.Error(w, "this node's data plane is a TUN: connect to the address directly", http.StatusNotImplemented)
		return
	}
	far, err := c.dial(r.Context(), r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	c.tunnels.Add(1)
	defer c.tunnels.Done()
	near, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer near.Close()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	// A stopping agent ends what would otherwise wait for its peers. The
	// request's context won't do: it ends with the client's half-close.
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-callerOf(r).stopping:
			_, _ = near.Close(), far.Close()
		case <-done:
		}
	}()
	var both sync.WaitGroup
	both.Go(func() { pipe(far, buf) })
	both.Go(func() { pipe(near, far) })
	both.Wait()
}

// dial connects to an address on the mesh, within bounded time.
func (c *Server) dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: not IP:PORT", address)
	}
	if err := c.cfg.Agent.Status().Reaches(to.Addr()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	far, err := c.cfg.Dial(ctx, "tcp", to.String())
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		return nil, fmt.Errorf("connect to %s: no answer within %s", to, dialTimeout)
	}
	return far, err
}

// pipe copies one direction and passes its end on.
func pipe(dst net.Conn, src io.Reader) {
	_, _ = io.Copy(dst, src)
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	} else {
		_ = dst.Close()
	}
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
