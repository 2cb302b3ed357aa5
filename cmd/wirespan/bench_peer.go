//go:build !edge

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/bench/rig"
	"github.com/wirespan/wirespan/bench/rig/load"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
)

// benchPort is where bench serve listens unless told otherwise.
const benchPort = 51830

func (c *cli) benchServe() *cobra.Command {
	var port uint16
	var underlay bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be the far end of wirespan bench run",
		Long: "Be the far end of wirespan bench run, on this node's mesh address: only members of\n" +
			"the mesh can connect. With --underlay, also beside the mesh, to addresses that\n" +
			"WireGuard sees its peers at. Needs a TUN data plane, and ends by itself.",
		Example: "  wirespan bench serve",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit <= 0 {
				return usageError{errors.New("--time must be positive")}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return c.serveBench(ctx, port, underlay)
		},
	}
	cmd.Flags().Uint16Var(&port, "port", benchPort, "TCP and UDP port")
	cmd.Flags().BoolVar(&underlay, "underlay", false, "let peers connect beside the mesh, too")
	cmd.Flags().DurationVar(&limit, "time", time.Hour, "end after this time")
	return c.asks(cmd)
}

func (c *cli) serveBench(ctx context.Context, port uint16, underlay bool) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	s, err := cl.Status(ctx)
	if err != nil {
		return err
	}
	if s.Backend == string(config.BackendNetstack) {
		return errors.New("this node's data plane is a netstack, where programs can't listen: serve on the other node, and run the benchmark from here")
	}
	at := netip.AddrPortFrom(s.Node.Address, port)
	if underlay {
		at = netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	}
	l, p, err := load.Listen(at)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.err, "serving measurements on %s; on the other node: wirespan bench run %s\n", at, cmp.Or(s.Node.Nodename, s.Node.Address.String()))
	server := &load.Server{
		TCP: l, UDP: p, Limits: load.DefaultLimits(),
		Log: hclog.New(&hclog.LoggerOptions{Name: "bench", Output: c.err}),
		Admit: func(from netip.Addr) bool {
			now, err := cl.Status(ctx)
			return err == nil && admits(now, from, underlay)
		},
	}
	return server.Serve(ctx)
}

// admits reports whether an address is a peer's: in the mesh, which WireGuard
// has then proved, or, beside it, where WireGuard sees the peer.
func admits(s *agent.Status, from netip.Addr, underlay bool) bool {
	for _, p := range s.Peers {
		if p.Owns(from) || underlay && p.Endpoint.Addr().Unmap() == from {
			return true
		}
	}
	return false
}

func (c *cli) benchRun() *cobra.Command {
	var f benchFlags
	var port uint16
	var underlay bool
	cmd := &cobra.Command{
		Use:   "run PEER",
		Short: "Measure to a peer that runs wirespan bench serve",
		Long: "Measure over the mesh to a peer on which wirespan bench serve runs and, with\n" +
			"--underlay, beside the mesh, too. PEER is a nodename, a public key, or any address\n" +
			"that belongs to the peer. From a netstack data plane only TCP is measured.",
		Example: "  wirespan bench run node-2 --underlay",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.prepare(cmd)
			targets, err := c.benchTargets(cmd.Context(), args[0], port, underlay)
			if err != nil {
				return err
			}
			r, err := rig.Peer(cmd.Context(), f.Config, targets, progress(c.err))
			return c.finish(&f, r, err)
		},
	}
	f.addTo(c, cmd)
	f.addLoad(cmd)
	cmd.Flags().Uint16Var(&port, "port", benchPort, "of the peer's wirespan bench serve")
	cmd.Flags().BoolVar(&underlay, "underlay", false, "measure beside the mesh, too")
	cmd.ValidArgsFunction = c.offerPeers()
	return c.asks(cmd)
}

// benchTargets are the ways to a peer.
func (c *cli) benchTargets(ctx context.Context, name string, port uint16, underlay bool) ([]rig.Target, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	s, err := cl.Status(ctx)
	if err != nil {
		return nil, err
	}
	peer, err := control.FindPeer(s, name)
	if err != nil {
		return nil, err
	}
	over := rig.Target{
		Name: "mesh", Description: "over the mesh, by " + s.Backend, MTU: s.Node.MTU,
		Server: netip.AddrPortFrom(peer.Address, port), Dial: load.Dial, UDP: true,
	}
	if s.Backend == string(config.BackendNetstack) {
		over.UDP = false
		over.Dial = func(ctx context.Context, _ string, to netip.AddrPort) (net.Conn, error) {
			return cl.Connect(ctx, to.String())
		}
	}
	targets := []rig.Target{over}
	if underlay {
		if !peer.Endpoint.IsValid() {
			return nil, fmt.Errorf("peer %q: WireGuard knows no endpoint of it yet", name)
		}
		targets = append(targets, rig.Target{
			Name: "underlay", Description: "beside the mesh, unencrypted", Dial: load.Dial, UDP: true,
			Server: netip.AddrPortFrom(peer.Endpoint.Addr(), port),
		})
	}
	return targets, nil
}
