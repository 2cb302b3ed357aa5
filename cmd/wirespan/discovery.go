package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/discovery/server"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func (c *cli) discovery() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "discovery",
		Short:   "The discovery service",
		Example: "  wirespan discovery serve --listen :3000",
	})
	cmd.AddCommand(c.discoveryServe())
	return cmd
}

// serveFlags are those of `discovery serve`.
type serveFlags struct {
	listen, metrics, cert, key string
	server                     server.Config
}

func (c *cli) discoveryServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a discovery service for Talos and wirespan nodes",
		Long: "Run a discovery service that speaks the protocol of Talos' discovery.talos.dev.\n" +
			"It sees only encrypted data. Without a certificate it speaks cleartext HTTP/2:\n" +
			"nodes reach it by an http:// endpoint, or put a TLS proxy in front.",
		Example: "  wirespan discovery serve --listen :3000\n" +
			"  wirespan discovery serve --listen :443 --certificate-path tls.crt --key-path tls.key --snapshot-path /var/lib/discovery/state",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.load(true)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return f.run(ctx, c, cfg.Logging)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", ":3000", "TCP address to serve on")
	flags.StringVar(&f.metrics, "metrics-listen", "", "TCP address of /metrics (Prometheus); empty: none")
	flags.StringVar(&f.cert, "certificate-path", "", "TLS certificate (PEM), read again when it changes; empty: no TLS")
	flags.StringVar(&f.key, "key-path", "", "key of the certificate (PEM)")
	flags.StringVar(&f.server.SnapshotPath, "snapshot-path", "", "file that carries the state over a restart; empty: none")
	flags.DurationVar(&f.server.SnapshotInterval, "snapshot-interval", 10*time.Minute, "time between two snapshots")
	flags.DurationVar(&f.server.GCInterval, "gc-interval", time.Minute, "time between two searches for expired entries")
	flags.StringVar(&f.server.Redirect, "redirect-endpoint", "", "host:port to send all clients to")
	flags.StringVar(&f.server.OnlyCluster, "only-cluster", "", "serve this cluster id only")
	flags.BoolVar(&f.server.TrustXRealIP, "trust-x-real-ip", false, "take the client's address from X-Real-IP; only behind a proxy that sets it")
	flags.BoolVar(&f.server.TrustXForwardedFor, "trust-first-x-forwarded-for", false, "take the client's address from X-Forwarded-For; only behind a proxy that sets it")
	return cmd
}

func (f *serveFlags) run(ctx context.Context, c *cli, logging config.Logging) error {
	log := newLogger(logging, c.err)
	f.server.Log = log
	if (f.cert == "") != (f.key == "") {
		return usageError{errors.New("--certificate-path and --key-path go together")}
	}
	if f.cert != "" {
		get, err := server.ReloadingCertificate(f.cert, f.key, log)
		if err != nil {
			return err
		}
		f.server.TLS = &tls.Config{GetCertificate: get, MinVersion: tls.VersionTLS12}
	}
	srv, err := server.New(f.server)
	if err != nil {
		return usageError{err}
	}
	lc := net.ListenConfig{Control: bind.Control(mesh.FirewallMark)}
	l, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("discovery server: %w (choose another address with --listen)", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	if f.metrics != "" {
		ml, err := net.Listen("tcp", f.metrics)
		if err != nil {
			return errors.Join(fmt.Errorf("metrics: %w (choose another address with --metrics-listen)", err), l.Close())
		}
		g.Go(func() error { return serveMetrics(ctx, ml, srv.MetricsHandler()) })
	}
	g.Go(func() error { return srv.Serve(ctx, l) })
	return g.Wait()
}

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
	<-serving
	return err
}
