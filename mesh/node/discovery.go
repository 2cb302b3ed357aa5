//go:build !edge

package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
)

// DiscoveryConfig configures a discovery service without a node.
type DiscoveryConfig struct {
	Listen          string // TCP address
	MetricsListen   string // TCP address of /metrics; empty: no metrics
	CertificatePath string // PEM, read again when it changes; empty: no TLS
	KeyPath         string // of the certificate
	STUN            bool   // binding requests are answered at the UDP port with the number of Listen's
	Server          server.Config
}

// ErrDiscoveryConfig reports a mistake in a [DiscoveryConfig].
var ErrDiscoveryConfig = errors.New("configuration of the discovery service")

// ServeDiscovery runs a discovery service until ctx is done.
func ServeDiscovery(ctx context.Context, c DiscoveryConfig) error {
	if (c.CertificatePath == "") != (c.KeyPath == "") {
		return fmt.Errorf("%w: --certificate-path and --key-path go together", ErrDiscoveryConfig)
	}
	if c.CertificatePath != "" {
		get, err := server.ReloadingCertificate(c.CertificatePath, c.KeyPath, c.Server.Log)
		if err != nil {
			return err
		}
		c.Server.TLS = &tls.Config{GetCertificate: get, MinVersion: tls.VersionTLS12}
	}
	srv, err := server.New(c.Server)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDiscoveryConfig, err)
	}
	lc := net.ListenConfig{Control: bind.Control(mesh.FirewallMark)}
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("discovery server: %w (choose another address with --listen)", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	if c.STUN {
		s, err := listenSTUN(ctx, l.Addr(), mesh.FirewallMark)
		if err != nil {
			return errors.Join(fmt.Errorf("%w (or turn it off with --stun=false)", err), l.Close())
		}
		g.Go(func() error { return s.run(ctx) })
	}
	if c.MetricsListen != "" {
		ml, err := net.Listen("tcp", c.MetricsListen)
		if err != nil {
			return errors.Join(fmt.Errorf("metrics: %w (choose another address with --metrics-listen)", err), l.Close())
		}
		g.Go(func() error { return serveMetrics(ctx, ml, srv.MetricsHandler()) })
	}
	g.Go(func() error { return srv.Serve(ctx, l) })
	return g.Wait()
}

// serveMetrics serves /metrics until ctx is done.
func serveMetrics(ctx context.Context, l net.Listener, metrics http.Handler) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	serving := make(chan error, 1)
	go func() { serving <- srv.Serve(l) }()
	select {
	case err := <-serving:
		return fmt.Errorf("metrics: %w", err)
	case <-ctx.Done():
	}
	err := srv.Close()
	if served := <-serving; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("metrics: %w", served))
	}
	return err
}
