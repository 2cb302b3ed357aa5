package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

const (
	headerTime = 5 * time.Second
	idleTime   = time.Minute
	freshness  = time.Second
)

// Agent is what is served. *[agent.Agent] is one.
type Agent interface {
	Status() *agent.Status
	Resources() *agent.Resources
	Look(ctx context.Context) error
	Reload(ctx context.Context) (restart []string, err error)
	Leave(ctx context.Context) error
	Accept(ctx context.Context, node string) error
	Forget(ctx context.Context, node string) error
	Ping(ctx context.Context, addr netip.Addr, size int) (time.Duration, error)
	Explain(agent.ExplainQuery) (agent.Explanation, error)
}

// Authority is what the founder of a mesh can do. Elsewhere its methods return an error.
type Authority interface {
	Expel(ctx context.Context, nodes []string) error
	RotateSecret(ctx context.Context) error
	ReplaceAuthority(ctx context.Context) error
}

// Config is what a [Server] serves.
type Config struct {
	Path    string
	Mode    fs.FileMode // of the socket; 0: 0600, or 0660 with a group
	Group   string      // of the socket, a name or number; empty: the group wirespan, if there is one
	Agent   Agent
	Metrics http.Handler
	// Token makes a join token; nil: refused.
	Token func(uses int, lifetime time.Duration) (string, error)
	// Authority decides who the members of a mesh are; nil: refused.
	Authority Authority
	// Access is the way into the mesh for programs of this host; nil: refused.
	Access Access
	// Netcheck finds out about this node's network; nil: refused.
	Netcheck func(ctx context.Context) (mesh.Netcheck, error)
	Log      hclog.Logger
}

// Access leads programs of this host into the mesh.
type Access interface {
	// DialContext connects to host:port. The host is a name of the mesh or an address.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// Lookup returns the mesh's addresses of a name.
	Lookup(name string) ([]netip.Addr, error)
	// Proxy runs a proxy on a port of this host until ctx is done, and calls ready with what
	// is needed to use it.
	Proxy(ctx context.Context, ready func(ProxyReply)) error
}

// ProxyReply is what a program needs to use a proxy. Other programs of this host reach its
// port, but do not know the password.
type ProxyReply struct {
	Address  string `json:"address"` // host:port
	User     string `json:"user"`
	Password string `json:"password"`
	Error    string `json:"error,omitempty"` // why there is no proxy
}

// Server is the control socket: HTTP and JSON on a unix socket. The peer's
// credentials decide: root and the agent's own uid may do everything, others
// whom the socket's mode admits may read, and never secrets.
type Server struct {
	cfg      Config
	listener net.Listener
	tunnels  sync.WaitGroup // of connect, which the server does not wait for
}

// caller is who sent a request.
type caller struct {
	owner   bool            // root or the agent's own uid
	running context.Context // until the socket's end has come
}

type contextKey struct{}

// callerOf returns who sent a request; the zero caller may do nothing.
func callerOf(r *http.Request) caller {
	c, _ := r.Context().Value(contextKey{}).(caller)
	return c
}

// Close closes the socket of a server that does not run.
func (c *Server) Close() error { return c.listener.Close() }

// Run serves until ctx is done and removes the socket. It returns when every
// request and tunnel has ended.
func (c *Server) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           c.handler(),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          c.cfg.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, contextKey{}, caller{conn.(*connection).owner, ctx})
		},
	}
	serving := make(chan error, 1)
	go func() { serving <- srv.Serve(c.listener) }()
	select {
	case err := <-serving:
		return fmt.Errorf("control socket %q: %w", c.cfg.Path, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close()
	}
	if err := <-serving; !errors.Is(err, http.ErrServerClosed) {
		c.cfg.Log.Debug("control socket", "error", err)
	}
	c.tunnels.Wait()
	return nil
}

func (c *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", c.status)
	mux.HandleFunc("GET /v1/health/{check}", func(w http.ResponseWriter, r *http.Request) { writeHealth(w, c.cfg.Agent, r.PathValue("check")) })
	mux.HandleFunc("GET /v1/resources/{type}", c.resources)
	mux.HandleFunc("GET /v1/explain", c.explain)
	mux.Handle("GET /metrics", c.cfg.Metrics)
	mux.Handle("POST /v1/reload", owner(c.reload))
	mux.Handle("POST /v1/leave", owner(c.leave))
	mux.Handle("POST /v1/accept", owner(c.named(c.cfg.Agent.Accept)))
	mux.Handle("POST /v1/forget", owner(c.named(c.cfg.Agent.Forget)))
	mux.Handle("POST /v1/token", owner(c.token))
	mux.Handle("POST /v1/expel", owner(c.decides(func(r *http.Request) error { return c.cfg.Authority.Expel(r.Context(), r.URL.Query()["node"]) })))
	mux.Handle("POST /v1/secret/rotate", owner(c.decides(func(r *http.Request) error { return c.cfg.Authority.RotateSecret(r.Context()) })))
	mux.Handle("POST /v1/authority/replace", owner(c.decides(func(r *http.Request) error { return c.cfg.Authority.ReplaceAuthority(r.Context()) })))
	mux.HandleFunc("GET /v1/lookup", c.lookup)
	mux.Handle("POST /v1/proxy", owner(c.proxy))
	mux.Handle("POST /v1/ping", owner(c.ping))
	mux.Handle("POST /v1/netcheck", owner(c.netcheck))
	connect := owner(c.connect)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		if r.Method == http.MethodConnect {
			connect.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// owner admits root and the agent's own uid.
func owner(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !callerOf(r).owner {
			http.Error(w, "permission denied: only root and the agent's own user may do this", http.StatusForbidden)
			return
		}
		next(w, r)
	})
}

// look refreshes what is shown if it is older than that. An agent that is slow
// to look shows what it has.
func (c *Server) look(ctx context.Context) {
	s := c.cfg.Agent.Status()
	if s.Updated.After(s.Started) && time.Since(s.Updated) < freshness { // not the one from before the first pass
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freshness)
	defer cancel()
	_ = c.cfg.Agent.Look(ctx)
}

func (c *Server) status(w http.ResponseWriter, r *http.Request) {
	c.look(r.Context())
	if r.URL.Query().Get("watch") == "" {
		writeJSON(w, c.cfg.Agent.Status())
		return
	}
	stream(w, r, func(send func(any) bool) {
		for {
			s := c.cfg.Agent.Status()
			if !send(s) || !until(r.Context(), s.Changed()) {
				return
			}
		}
	})
}

func (c *Server) resources(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	secrets := q.Get("secrets") != ""
	if secrets && !callerOf(r).owner {
		http.Error(w, "permission denied: only root and the agent's own user may see secrets", http.StatusForbidden)
		return
	}
	found, err := agent.FindResourceType(r.PathValue("type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	c.look(r.Context())
	show := selection{found.Name, q.Get("id"), secrets}
	list, changed := show.of(c.cfg.Agent)
	if q.Get("watch") == "" {
		if list == nil {
			list = []agent.Resource{}
		}
		writeJSON(w, list)
		return
	}
	stream(w, r, func(send func(any) bool) {
		var old []agent.Resource
		for {
			for _, e := range agent.Diff(old, list) {
				if !send(e) {
					return
				}
			}
			if !until(r.Context(), changed) {
				return
			}
			old = list
			list, changed = show.of(c.cfg.Agent)
		}
	})
}

func (c *Server) reload(w http.ResponseWriter, r *http.Request) {
	restart, err := c.cfg.Agent.Reload(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	writeJSON(w, ReloadReply{restart})
}

// ReloadReply is the answer to a reload that was applied.
type ReloadReply struct {
	Restart []string `json:"restart"` // changed settings that wait for a restart
}

// LeaveIncomplete is the code of the [Refusal] of a Leave after which the agent ends
// all the same: a discovery service still has this node's entry.
const LeaveIncomplete = http.StatusBadGateway

func (c *Server) leave(w http.ResponseWriter, r *http.Request) {
	if err := c.cfg.Agent.Leave(context.WithoutCancel(r.Context())); err != nil {
		http.Error(w, err.Error(), LeaveIncomplete)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// named answers requests with the parameter node, a node id or nodename.
func (c *Server) named(change func(ctx context.Context, node string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := change(r.Context(), r.URL.Query().Get("node")); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	}
}

// decides answers a request for a decision of the mesh's authority.
func (c *Server) decides(decide func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if c.cfg.Authority == nil {
			http.Error(w, "this agent has no authority over a mesh", http.StatusUnprocessableEntity)
			return
		}
		if err := decide(r); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	}
}

// TokenReply is the answer to a request for a join token.
type TokenReply struct {
	Token string `json:"token"`
}

// token takes the parameters uses and lifetime.
func (c *Server) token(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	uses, err := strconv.Atoi(q.Get("uses"))
	lifetime, err2 := time.ParseDuration(q.Get("lifetime"))
	if err != nil || err2 != nil {
		http.Error(w, "uses is a number, and lifetime a duration", http.StatusBadRequest)
		return
	}
	if c.cfg.Token == nil {
		http.Error(w, "this agent makes no join tokens", http.StatusUnprocessableEntity)
		return
	}
	text, err := c.cfg.Token(uses, lifetime)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	writeJSON(w, TokenReply{text})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody to tell
}

// stream sends JSON lines until the client goes or the agent stops. The header goes out
// at once: a client would take a watch of nothing for an agent that does not answer.
func stream(w http.ResponseWriter, _ *http.Request, body func(send func(any) bool)) {
	w.Header().Set("Content-Type", "application/jsonl")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	_ = flush.Flush() // if the client has gone, body notices
	body(func(v any) bool { return enc.Encode(v) == nil && flush.Flush() == nil })
}

func until(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-changed:
		return true
	}
}
