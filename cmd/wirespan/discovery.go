//go:build !edge

package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/node"
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

func (c *cli) discoveryServe() *cobra.Command {
	var f node.DiscoveryConfig
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a discovery service for Talos and wirespan nodes",
		Long: "Run a discovery service that speaks the protocol of Talos' discovery.talos.dev.\n" +
			"It sees only encrypted data. Without a certificate it speaks cleartext HTTP/2:\n" +
			"nodes reach it by an http:// endpoint, or put a TLS proxy in front.",
		Example: "  wirespan discovery serve --listen :3000\n" +
			"  wirespan discovery serve --listen :443 --certificate-path tls.crt \\\n" +
			"      --key-path tls.key --snapshot-path /var/lib/discovery/state",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.loadSettings("logging.level", "logging.json")
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			f.Server.Log = newLogger(cfg.Logging, c.err)
			err = node.ServeDiscovery(ctx, f)
			if errors.Is(err, node.ErrDiscoveryConfig) {
				return usageError{err}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Listen, "listen", ":3000", "TCP address to serve on")
	flags.StringVar(&f.MetricsListen, "metrics-listen", "", "TCP address of /metrics (Prometheus); empty: none")
	flags.BoolVar(&f.STUN, "stun", true, "answer STUN at the UDP port with the same number, so that nodes behind a NAT learn their addresses")
	flags.StringVar(&f.CertificatePath, "certificate-path", "", "TLS certificate (PEM), read again when it changes; empty: no TLS")
	flags.StringVar(&f.KeyPath, "key-path", "", "key of the certificate (PEM)")
	flags.StringVar(&f.Server.SnapshotPath, "snapshot-path", "", "file that carries the state over a restart; empty: none")
	flags.DurationVar(&f.Server.SnapshotInterval, "snapshot-interval", 10*time.Minute, "time between two snapshots")
	flags.DurationVar(&f.Server.GCInterval, "gc-interval", time.Minute, "time between two searches for expired entries")
	flags.StringVar(&f.Server.Redirect, "redirect-endpoint", "", "host:port to send all clients to")
	flags.StringVar(&f.Server.OnlyCluster, "only-cluster", "", "serve this cluster id only")
	flags.BoolVar(&f.Server.TrustXRealIP, "trust-x-real-ip", false, "take the client's address from X-Real-IP; only behind a proxy that sets it")
	flags.BoolVar(&f.Server.TrustXForwardedFor, "trust-first-x-forwarded-for", false, "take the client's address from X-Forwarded-For; only behind a proxy that sets it")
	for _, name := range []string{"certificate-path", "key-path", "snapshot-path"} {
		_ = cmd.MarkFlagFilename(name)
	}
	return c.takes(cmd, "logging.level", "logging.json")
}
