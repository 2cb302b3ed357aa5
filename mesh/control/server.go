package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/mesh/control/http1"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

const (
	headTime  = 5 * time.Second
	freshness = time.Second
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
	NewToken(uses int, lifetime time.Duration) (string, error)
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
	Metrics Metrics // nil: refused
	// Authority decides who the members of a mesh are; nil: refused, since it can't be here.
	Authority Authority
	// Access is the way into the mesh for programs of this host; nil: refused.
	Access Access
	// Netcheck finds out about this node's network; nil: refused.
	Netcheck func(ctx context.Context) (mesh.Netcheck, error)
	// Command runs a command for a client and returns its output; nil: refused.
	Command Command
	Log     hclog.Logger
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
}

// isOwnerOf reports whether a request is of root or of the agent's own uid.
func isOwnerOf(r *http1.Request) bool {
	c, ok := r.Conn.(*connection)
	return ok && c.owner
}

// Close closes the socket of a server that does not run.
func (c *Server) Close() error { return c.listener.Close() }

// Run serves until ctx is done and removes the socket. It returns when every
// request and tunnel has ended.
func (c *Server) Run(ctx context.Context) error {
	srv := http1.Server{Handler: c.handler(ctx), HeadTime: headTime, Log: c.cfg.Log}
	if err := srv.Serve(ctx, c.listener); err != nil {
		return fmt.Errorf("control socket %q: %w", c.cfg.Path, err)
	}
	return nil
}

// routes are what the socket answers.
var routes = []struct {
	path   string
	method string
	owner  bool // only to root and the agent's own uid
	handle func(c *Server, ctx context.Context, w *http1.Response, r *http1.Request)
}{
	{"/v1/status", http1.MethodGet, false, (*Server).status},
	{"/v1/health/", http1.MethodGet, false, (*Server).health},
	{"/v1/resources/", http1.MethodGet, false, (*Server).resources},
	{"/v1/explain", http1.MethodGet, false, (*Server).explain},
	{"/v1/command", http1.MethodGet, true, (*Server).command},
	{"/v1/lookup", http1.MethodGet, false, (*Server).lookup},
	{"/metrics", http1.MethodGet, false, (*Server).metrics},
	{"/v1/reload", http1.MethodPost, true, (*Server).reload},
	{"/v1/leave", http1.MethodPost, true, (*Server).leave},
	{"/v1/accept", http1.MethodPost, true, (*Server).accept},
	{"/v1/forget", http1.MethodPost, true, (*Server).forget},
	{"/v1/token", http1.MethodPost, true, (*Server).token},
	{"/v1/expel", http1.MethodPost, true, (*Server).expel},
	{"/v1/secret/rotate", http1.MethodPost, true, (*Server).rotateSecret},
	{"/v1/authority/replace", http1.MethodPost, true, (*Server).replaceAuthority},
	{"/v1/proxy", http1.MethodPost, true, (*Server).proxy},
	{"/v1/ping", http1.MethodPost, true, (*Server).ping},
	{"/v1/netcheck", http1.MethodPost, true, (*Server).netcheck},
}

// handler answers requests; tunnels go on while running is.
func (c *Server) handler(running context.Context) http1.Handler {
	mux := http1.Mux{}
	for _, route := range routes {
		mux[route.path] = http1.Route{Method: route.method, Handle: func(ctx context.Context, w *http1.Response, r *http1.Request) {
			if !route.owner || admitted(w, r) {
				route.handle(c, ctx, w, r)
			}
		}}
	}
	return func(ctx context.Context, w *http1.Response, r *http1.Request) {
		if r.Method != http1.MethodConnect {
			mux.Serve(ctx, w, r)
		} else if admitted(w, r) {
			c.connect(ctx, running, w, r)
		}
	}
}

// admitted admits root and the agent's own uid, and refuses others.
func admitted(w *http1.Response, r *http1.Request) bool {
	owner := isOwnerOf(r)
	if !owner {
		w.Error("permission denied: only root and the agent's own user may do this", http1.StatusForbidden)
	}
	return owner
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

func (c *Server) status(ctx context.Context, w *http1.Response, r *http1.Request) {
	c.look(ctx)
	if r.Query.Get("watch") == "" {
		writeJSON(w, c.cfg.Agent.Status())
		return
	}
	stream(w, func(send func(any) bool) {
		for {
			s := c.cfg.Agent.Status()
			if !send(s) || !until(ctx, s.Changed()) {
				return
			}
		}
	})
}

func (c *Server) resources(ctx context.Context, w *http1.Response, r *http1.Request) {
	q := r.Query
	secrets := q.Get("secrets") != ""
	if secrets && !isOwnerOf(r) {
		w.Error("permission denied: only root and the agent's own user may see secrets", http1.StatusForbidden)
		return
	}
	found, err := agent.FindResourceType(r.Element)
	if err != nil {
		w.Error(err.Error(), http1.StatusNotFound)
		return
	}
	c.look(ctx)
	show := selection{found.Name, q.Get("id"), secrets}
	list, changed := show.of(c.cfg.Agent)
	if q.Get("watch") == "" {
		writeJSON(w, list)
		return
	}
	stream(w, func(send func(any) bool) {
		var old []agent.Resource
		for {
			for _, e := range agent.Diff(old, list) {
				if !send(e) {
					return
				}
			}
			if !until(ctx, changed) {
				return
			}
			old = list
			list, changed = show.of(c.cfg.Agent)
		}
	})
}

func (c *Server) reload(ctx context.Context, w *http1.Response, r *http1.Request) {
	restart, err := c.cfg.Agent.Reload(ctx)
	if err != nil {
		w.Error(err.Error(), http1.StatusUnprocessable)
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
const LeaveIncomplete = http1.StatusBadGateway

func (c *Server) leave(ctx context.Context, w *http1.Response, r *http1.Request) {
	if err := c.cfg.Agent.Leave(context.WithoutCancel(ctx)); err != nil {
		w.Error(err.Error(), LeaveIncomplete)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// accept takes the parameter node, a node id or nodename.
func (c *Server) accept(ctx context.Context, w *http1.Response, r *http1.Request) {
	done(w, c.cfg.Agent.Accept(ctx, r.Query.Get("node")))
}

// forget takes the parameter node, a node id or nodename.
func (c *Server) forget(ctx context.Context, w *http1.Response, r *http1.Request) {
	done(w, c.cfg.Agent.Forget(ctx, r.Query.Get("node")))
}

// done answers a request for a change.
func done(w *http1.Response, err error) {
	if err != nil {
		w.Error(err.Error(), http1.StatusUnprocessable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// decides reports whether this agent can ask the mesh's authority, and refuses otherwise.
func (c *Server) decides(w *http1.Response) bool {
	if c.cfg.Authority == nil {
		w.Error("only the founder of a mesh decides who its members are, and this is the edge build, which can't be the founder: run this command on the founder",
			http1.StatusUnprocessable)
		return false
	}
	return true
}

// expel takes the parameters node, node ids or nodenames.
func (c *Server) expel(ctx context.Context, w *http1.Response, r *http1.Request) {
	if c.decides(w) {
		done(w, c.cfg.Authority.Expel(ctx, r.Query["node"]))
	}
}

func (c *Server) rotateSecret(ctx context.Context, w *http1.Response, _ *http1.Request) {
	if c.decides(w) {
		done(w, c.cfg.Authority.RotateSecret(ctx))
	}
}

func (c *Server) replaceAuthority(ctx context.Context, w *http1.Response, _ *http1.Request) {
	if c.decides(w) {
		done(w, c.cfg.Authority.ReplaceAuthority(ctx))
	}
}

// TokenReply is the answer to a request for a join token.
type TokenReply struct {
	Token string `json:"token"`
}

// token takes the parameters uses and lifetime.
func (c *Server) token(ctx context.Context, w *http1.Response, r *http1.Request) {
	q := r.Query
	uses, err := strconv.Atoi(q.Get("uses"))
	lifetime, err2 := time.ParseDuration(q.Get("lifetime"))
	if err != nil || err2 != nil {
		w.Error("uses is a number, and lifetime a duration", http1.StatusBadRequest)
		return
	}
	if !c.decides(w) {
		return
	}
	text, err := c.cfg.Authority.NewToken(uses, lifetime)
	if err != nil {
		w.Error(err.Error(), http1.StatusUnprocessable)
		return
	}
	writeJSON(w, TokenReply{text})
}

func writeJSON(w *http1.Response, v any) {
	w.Type = "application/json"
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody to tell
}

// stream sends JSON lines until the client goes or the agent stops. The header goes out
// at once: a client would take a watch of nothing for an agent that does not answer.
func stream(w *http1.Response, body func(send func(any) bool)) {
	w.Type = "application/jsonl"
	enc := json.NewEncoder(w)
	_ = w.Flush() // if the client has gone, body notices
	body(func(v any) bool { return enc.Encode(v) == nil && w.Flush() == nil })
}

func until(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-changed:
		return true
	}
}
