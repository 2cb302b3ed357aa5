//go:build !edge

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/bench/rig"
)

func (c *cli) benchLocal() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Measure tunnels on this machine, beside each other",
		Long: "Measure tunnels between two network namespaces on this machine. Each subject gets\n" +
			"a new network for each repetition, and one that is not here is skipped. Needs\n" +
			"root, but with --unprivileged measures the netstack subjects over loopback.\n" +
			"Whatever ends it, nothing stays behind; Ctrl-C shows what was measured so far.\n\n" +
			"Subjects: raw (no tunnel: the ceiling), kernel, wireguard-go and\n" +
			"wireguard-go-netstack (upstream's), wirespan-tun, wirespan-netstack, nebula,\n" +
			"tailscaled, and those of --driver. Only when named: wirespan-socks, wirespan-http\n" +
			"and wirespan-forward, the ways of programs into a netstack node, and\n" +
			"wirespan-relay, wirespan-tun through a relay.",
		Example: "  wirespan bench local\n" +
			"  wirespan bench local --subjects raw,kernel,wirespan-tun --html report.html\n" +
			"  wirespan bench local --unprivileged -o json > report.json",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.prepare(cmd)
			self, err := os.Executable()
			if err != nil {
				return err
			}
			f.Self = []string{self, "bench", "child"}
			r, err := rig.Local(cmd.Context(), f.Config, progress(c.err))
			return c.finish(&f, r, err)
		},
	}
	f.addTo(c, cmd)
	fs, o := cmd.Flags(), &f.Options
	f.addLoad(cmd)
	fs.StringSliceVar(&f.Subjects, "subjects", nil, "what to measure, in this order (default all but the last three)")
	fs.StringVar(&f.Base, "base", "", "the subject that ratios refer to (default wireguard-go, if it is there)")
	fs.StringVar(&f.WireGuardGo, "wireguard-go", "", "upstream's program (default wireguard-go on PATH)")
	fs.StringArrayVar(&f.Drivers, "driver", nil, "a file that describes a further subject")
	fs.BoolVar(&f.Unprivileged, "unprivileged", false, "no namespaces: the netstack subjects over loopback")
	fs.IntVar(&o.MTU, "mtu", 0, "of the tunnel (default: 1420, or what the underlay has room for)")
	fs.IntVar(&o.UnderlayMTU, "underlay-mtu", o.UnderlayMTU, "of the link beneath")
	fs.DurationVar(&o.RTT, "rtt", 0, "round-trip time to add, where the kernel has netem")
	fs.Float64Var(&o.Loss, "loss", 0, "fraction of packets to lose, where the kernel has netem")
	fs.IntVar(&o.GOMAXPROCS, "gomaxprocs", 0, "cores that a subject in Go may use (default all)")
	_, _ = cmd.MarkFlagFilename("wireguard-go"), cmd.MarkFlagFilename("driver")
	subjects := offerList(func() []string { return rig.SubjectNames(f.Drivers) })
	_ = cmd.RegisterFlagCompletionFunc("subjects", subjects)
	_ = cmd.RegisterFlagCompletionFunc("base", subjects)
	return cmd
}
