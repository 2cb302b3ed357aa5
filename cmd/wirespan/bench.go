//go:build !edge

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/bench/rig"
)

func (c *cli) bench() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "bench",
		Short: "Measure tunnels: throughput, latency, CPU, memory",
		Long: "Measure tunnels fairly: the same network and load for each, in turn, again and\n" +
			"again, so that what changes on the machine meets all of them alike.",
		Example: "  wirespan bench local\n  wirespan bench run node-2",
	})
	cmd.AddCommand(c.benchLocal(), c.benchServe(), c.benchRun(), c.benchCrypto(), c.benchCompare(), c.benchChild())
	return cmd
}

// benchFlags are shared by all commands that measure.
type benchFlags struct {
	rig.Config
	output, html string
	quick        bool
}

// addTo adds the flags of how, and for how long, and what becomes of it.
func (f *benchFlags) addTo(c *cli, cmd *cobra.Command) {
	f.Options = rig.DefaultOptions()
	fs, o := cmd.Flags(), &f.Options
	fs.IntVar(&o.Runs, "runs", o.Runs, "repetitions")
	fs.DurationVar(&o.Duration, "duration", o.Duration, "of one measurement")
	fs.BoolVar(&f.quick, "quick", false, "one short repetition, to see that everything works; its figures say little")
	fs.StringVar(&f.html, "html", "", "write a page with charts to this file, too")
	_ = cmd.MarkFlagFilename("html")
	c.outputFlag(cmd, &f.output)
}

// addLoad adds the flags of what is measured.
func (f *benchFlags) addLoad(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.Options
	fs.IntSliceVar(&o.Streams, "streams", o.Streams, "TCP streams")
	fs.IntSliceVar(&o.Payloads, "payload", o.Payloads, "bytes of UDP payload for packets per second; 0: what fits the MTU")
	fs.StringVar(&o.Congestion, "congestion", o.Congestion, "TCP congestion control of the load (default cubic, where allowed)")
	fs.StringSliceVar(&o.Metrics, "metrics", nil, "only these metrics or groups of them, such as tcp.up,rtt (default all)")
	_ = cmd.RegisterFlagCompletionFunc("metrics", offerList(rig.MetricNames))
}

// prepare completes the configuration once flags are parsed.
func (f *benchFlags) prepare(cmd *cobra.Command) {
	if f.quick {
		for name, set := range map[string]func(){
			"runs":     func() { f.Options.Runs = 1 },
			"duration": func() { f.Options.Duration = 200 * time.Millisecond },
		} {
			if !cmd.Flags().Changed(name) {
				set()
			}
		}
	}
	f.Command, f.Version = append([]string{"wirespan"}, os.Args[1:]...), version()
}

// finish shows a report, as far as it got, and returns err.
func (c *cli) finish(f *benchFlags, r *bench.Report, err error) error {
	if r == nil || err != nil && len(r.Runs) == 0 {
		return err
	}
	if showErr := c.writeReport(r, f.output, f.html); err == nil {
		err = showErr
	}
	return err
}

// progress shows what runs: on a terminal in one line that changes, elsewhere
// one line for each subject's run.
func progress(w io.Writer) func(rig.Progress) {
	terminal := isTerminal(w)
	return func(p rig.Progress) {
		line := fmt.Sprintf("run %d of %d  %-22s", p.Run, p.Runs, p.Subject)
		switch {
		case p.What != "" && terminal:
			fmt.Fprintf(w, "\r\x1b[K%s  %-18s  %s left", line, p.What, p.Left)
		case p.What == "" && p.Error != "":
			fmt.Fprintf(w, "%s%s  %s\n", clearLine(terminal), line, p.Error)
		case p.What == "":
			fmt.Fprintf(w, "%s%s  done, %s left\n", clearLine(terminal), line, p.Left)
		}
	}
}

func clearLine(terminal bool) string {
	if terminal {
		return "\r\x1b[K"
	}
	return ""
}

func (c *cli) benchCrypto() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "crypto",
		Short: "Measure the encryption alone",
		Long: "Measure ChaCha20-Poly1305, by packet size, on one core and on all, with the name\n" +
			"of the code that this processor runs.",
		Example: "  wirespan bench crypto",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.prepare(cmd)
			r, err := rig.Crypto(cmd.Context(), f.Config, progress(c.err))
			return c.finish(&f, r, err)
		},
	}
	f.addTo(c, cmd)
	if d := cmd.Flags().Lookup("duration"); d.Value.Set("200ms") == nil {
		d.DefValue = "200ms"
	}
	return cmd
}

// benchChild is what a benchmark starts; it serves only the socket that its
// parent left it.
func (c *cli) benchChild() *cobra.Command {
	return &cobra.Command{
		Use:    "child ROLE",
		Hidden: true,
		Args:   arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return rig.Child(context.WithoutCancel(cmd.Context()), args[0])
		},
	}
}
