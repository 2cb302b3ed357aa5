package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// maxLoopAge is within which time the agent's loop turns when nothing happens.
const maxLoopAge = 4 * time.Minute

// writeHealth answers 200 or 503. Live: the loop turns. Ready: the node can do its job.
func writeHealth(w http.ResponseWriter, a Agent, check string) {
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
		http.Error(w, "unknown check: use live or ready", http.StatusNotFound)
		return
	}
	if reason != "" {
		http.Error(w, reason, http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// ServeHealth serves /healthz (live), /readyz (ready) and /metrics until ctx is done. Whoever
// reaches the listener may read them. They tell the names and public keys of peers.
func ServeHealth(ctx context.Context, l net.Listener, a Agent, metrics http.Handler) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, a, "live") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, a, "ready") })
	mux.Handle("GET /metrics", metrics)
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTime, WriteTimeout: time.Minute, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("health and metrics: %w", err)
	}
	return nil
}
