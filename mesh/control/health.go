package control

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/control/http1"
)

// maxLoopAge is within which time the agent's loop turns when nothing happens.
const maxLoopAge = 4 * time.Minute

// healthTime bounds a request of [ServeHealth] with its answer.
const healthTime = time.Minute

func (c *Server) metrics(ctx context.Context, w *http1.Response, r *http1.Request) {
	c.cfg.Metrics.serve(ctx, w, r)
}

func (c *Server) health(_ context.Context, w *http1.Response, r *http1.Request) {
	writeHealth(w, c.cfg.Agent, r.Element)
}

// writeHealth answers 200 or 503. Live: the loop turns. Ready: the node can do its job.
func writeHealth(w *http1.Response, a Agent, check string) {
	s := a.Status()
	reason := ""
	switch check {
	case "live":
		if age := time.Since(s.Updated); age > maxLoopAge {
			reason = fmt.Sprintf("the agent's loop last turned %s ago", age.Round(time.Second))
		}
	case "ready":
		reason = s.NotReady
	default:
		w.Error("unknown check: use live or ready", http1.StatusNotFound)
		return
	}
	if reason != "" {
		w.Error(reason, http1.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// ServeHealth serves /healthz (live), /readyz (ready) and /metrics until ctx is done. Whoever
// reaches the listener may read them. They tell the names and public keys of peers.
func ServeHealth(ctx context.Context, l net.Listener, a Agent, metrics Metrics, log hclog.Logger) error {
	check := func(name string) http1.Route {
		return http1.Route{Method: http1.MethodGet, Handle: func(_ context.Context, w *http1.Response, _ *http1.Request) { writeHealth(w, a, name) }}
	}
	mux := http1.Mux{
		"/healthz": check("live"),
		"/readyz":  check("ready"),
		"/metrics": {Method: http1.MethodGet, Handle: metrics.serve},
	}
	srv := http1.Server{Handler: mux.Serve, HeadTime: headTime, Time: healthTime, Connections: maxConnections, Log: log}
	if err := srv.Serve(ctx, l); err != nil {
		return fmt.Errorf("health and metrics: %w", err)
	}
	return nil
}

// Metrics writes metrics in the Prometheus text format. Its errors come before it writes.
type Metrics func(io.Writer) error

// metricsType is the content type of that format.
const metricsType = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"

func (m Metrics) serve(_ context.Context, w *http1.Response, _ *http1.Request) {
	if m == nil {
		w.Error("this is the edge build, which has no metrics: wirespan status and wirespan get show the same figures", http1.StatusNotImplemented)
		return
	}
	w.Type = metricsType
	if err := m(w); err != nil {
		w.Error(err.Error(), http1.StatusInternalServerError)
	}
}
