package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Config configures a Server. The zero Config is a public cleartext server without
// a snapshot file.
type Config struct {
	// OnlyCluster is the one cluster id to serve; requests for others get
	// PermissionDenied. Empty: serve all.
	OnlyCluster string
	// TLS is nil for cleartext HTTP/2 with prior knowledge.
	TLS *tls.Config
	// Enrol admits new nodes to the mesh of a founder, over TLS only; nil: the server
	// has no such method.
	Enrol EnrolFunc
	// Other takes connections of STUN and TURN, in the clear or over TLS, that come to the
	// server's port, and closes them at some time. It must not block, and bounds how many it
	// keeps: they take nothing of the server's. It needs TLS; nil: they are refused.
	Other func(net.Conn)
	// Redirect is the host:port to which Hello redirects clients; empty: none.
	Redirect string

	// SnapshotPath is the file that keeps the state over a restart; empty: none.
	// It is replaced every SnapshotInterval (default 10 min) and at the end.
	SnapshotPath     string
	SnapshotInterval time.Duration
	// GCInterval is the interval at which expired affiliates are removed (default
	// 1 min).
	GCInterval time.Duration

	// TrustXRealIP and TrustXForwardedFor take the client's address from these
	// headers. Set them only behind a proxy that overwrites the headers. Otherwise
	// clients can forge them: to escape the rate limit, to use up that of another
	// client, or to announce its address as their own. Sidero's server trusts both
	// headers by default.
	TrustXRealIP       bool
	TrustXForwardedFor bool

	Log hclog.Logger // nil discards
	// Store keeps the affiliates; nil: the memory of this process. Any other store
	// does persistence and expiry itself, so SnapshotPath must be empty.
	Store Store
}

// Server is a discovery service.
type Server struct {
	cfg     Config
	log     hclog.Logger
	store   Store
	memory  *memory // the store, unless Config brought one
	only    only
	clients *clients
	pools   pools
	metrics *metrics
	serving atomic.Bool
}

// New checks c and starts nothing.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("discovery server: %w", err)
	}
	c.SnapshotInterval = cmp.Or(c.SnapshotInterval, 10*time.Minute)
	c.GCInterval = cmp.Or(c.GCInterval, time.Minute)
	s := &Server{cfg: c, log: c.Log, store: c.Store, clients: newClients(), pools: newPools(c.OnlyCluster != ""), metrics: newMetrics()}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if c.OnlyCluster != "" {
		s.only.set(c.OnlyCluster)
	}
	if s.store == nil {
		s.memory = newMemory(c.OnlyCluster, s.log)
		s.store = s.memory
		s.metrics.registry.MustRegister(stateCollector{s.memory})
	}
	return s, nil
}

func (c *Config) check() error {
	if c.OnlyCluster != "" {
		if err := validateClusterID(c.OnlyCluster); err != nil {
			return fmt.Errorf("OnlyCluster: %w", err)
		}
	}
	if c.Enrol != nil && c.TLS == nil {
		return errors.New("a server that enrols nodes needs TLS")
	}
	if c.Other != nil && c.TLS == nil {
		return errors.New("a server that shares its port needs TLS")
	}
	if c.Redirect != "" {
		if _, _, err := net.SplitHostPort(c.Redirect); err != nil {
			return fmt.Errorf("redirect endpoint: %w", err)
		}
	}
	if c.SnapshotInterval < 0 || c.GCInterval < 0 {
		return errors.New("intervals can't be negative")
	}
	if c.Store != nil && c.SnapshotPath != "" {
		return errors.New("only the memory store has snapshots: Store and SnapshotPath exclude each other")
	}
	return nil
}

// Metrics returns the gatherer of this server's metrics. None of them are in the
// global registry.
func (s *Server) Metrics() prometheus.Gatherer { return s.metrics.registry }

// MetricsHandler returns a handler that serves Metrics in the Prometheus text
// format.
func (s *Server) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
}

// Serve serves lis until ctx ends, which is not an error. Then it ends watches with
// EOF, lets other requests finish, saves the snapshot, and returns within about
// 5 s. Serve closes lis. It may be called once.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	if s.serving.Swap(true) {
		return errors.Join(errors.New("discovery server: Serve called twice"), lis.Close())
	}
	if err := s.load(time.Now()); err != nil {
		return errors.Join(err, lis.Close())
	}
	s.log.Info("discovery server started", "address", lis.Addr().String(), "tls", s.cfg.TLS != nil)

	limited := s.clients
	if s.cfg.TrustXRealIP || s.cfg.TrustXForwardedFor {
		limited = nil
	}
	bounded := newBoundedListener(lis, s.pools.connections, limited, s.log)
	g, ctx := errgroup.WithContext(ctx)
	gs := s.grpcServer(ctx)
	g.Go(func() error {
		err := gs.Serve(bounded)
		if errors.Is(err, grpc.ErrServerStopped) { // ctx ended before Serve began
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-ctx.Done()
		stop(gs, bounded)
		return nil
	})
	g.Go(func() error { s.housekeep(ctx); return nil })
	err := g.Wait()
	s.keep()
	s.log.Info("discovery server stopped")
	return err
}

// grpcServer returns a server whose watches end when ctx does.
func (s *Server) grpcServer(ctx context.Context) *grpc.Server {
	g := &gate{cfg: &s.cfg, log: s.log, only: &s.only, clients: s.clients, pools: s.pools, metrics: s.metrics}
	opts := []grpc.ServerOption{
		grpc.InTapHandle(await),
		grpc.ForceServerCodecV2(newWire()),
		grpc.StreamInterceptor(g.stream),
		grpc.MaxRecvMsgSize(maxMessageSize),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderSize),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.WaitForHandlers(true),
		// Messages are small and connections are many: small buffers for each.
		grpc.ReadBufferSize(4 << 10),
		grpc.StaticStreamWindowSize(64 << 10),
		grpc.StaticConnWindowSize(256 << 10),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             keepaliveMinimum,
			PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleTimeout,
			Time:              keepaliveTime,
			Timeout:           keepaliveTimeout,
		}),
	}
	switch {
	case s.cfg.Other != nil:
		opts = append(opts, grpc.Creds(newSharing(s.cfg.TLS, s.cfg.Other)))
	case s.cfg.TLS != nil:
		opts = append(opts, grpc.Creds(credentials.NewTLS(s.cfg.TLS)))
	}
	gs := grpc.NewServer(opts...)
	gs.RegisterService(g.description(), &service{
		cfg: &s.cfg, only: &s.only, store: s.store, pools: s.pools, metrics: s.metrics, stopping: ctx.Done(),
	})
	if s.cfg.Enrol != nil {
		s.registerEnrolment(gs, g)
	}
	return gs
}

// stop lets requests finish for stopTimeout, then closes all connections.
func stop(gs *grpc.Server, lis *boundedListener) {
	done := make(chan struct{})
	go func() {
		gs.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopTimeout):
		lis.closeConns() // ends handshakes, for which Stop would wait
		gs.Stop()
		<-done
	}
}

// housekeep expires affiliates, forgets idle clients and saves snapshots.
func (s *Server) housekeep(ctx context.Context) {
	gc, sweep, save := time.NewTicker(s.cfg.GCInterval), time.NewTicker(sweepInterval), time.NewTicker(s.cfg.SnapshotInterval)
	defer gc.Stop()
	defer sweep.Stop()
	defer save.Stop()
	s.expire(time.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-gc.C:
			s.expire(time.Now())
		case <-sweep.C:
			s.clients.sweep(time.Now())
		case <-save.C:
			s.keep()
		}
	}
}

func (s *Server) expire(now time.Time) {
	if s.memory != nil {
		s.metrics.expired(s.memory.expire(now))
	}
}
