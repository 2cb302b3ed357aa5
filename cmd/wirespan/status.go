package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) status() *cobra.Command {
	var output, check string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show this node and its peers",
		Example: "  wirespan status\n" +
			"  wirespan status --watch\n" +
			"  wirespan status --check ready && echo usable",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check != "" && check != "live" && check != "ready" {
				return usageError{fmt.Errorf("--check %q: use live or ready", check)}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if check != "" {
				return checkHealth(cmd.Context(), cl, check)
			}
			if watch {
				ctx, stop := untilSignal(cmd.Context())
				defer stop()
				return quietCancel(cl.WatchStatus(ctx, func(s *agent.Status) (bool, error) {
					if output == outputYAML || output == outputTable {
						fmt.Fprintln(c.out, "---")
					}
					return true, showStatus(c.out, output, s)
				}))
			}
			s, err := cl.Status(cmd.Context())
			if err != nil {
				return err
			}
			return showStatus(c.out, output, s)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show every change")
	cmd.Flags().StringVar(&check, "check", "", "only set the exit code: live (the agent works) or ready (the node can use the mesh)")
	_ = cmd.RegisterFlagCompletionFunc("check", cobra.FixedCompletions([]string{"live", "ready"}, cobra.ShellCompDirectiveNoFileComp))
	outputFlag(cmd, &output)
	return cmd
}

func checkHealth(ctx context.Context, cl *control.Client, what string) error {
	if err := cl.Health(ctx, what); err != nil {
		return fmt.Errorf("not %s: %w", what, err)
	}
	return nil
}

// quietCancel takes the end of a watch by Ctrl-C for success.
func quietCancel(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func showStatus(w io.Writer, output string, s *agent.Status) error {
	if output != outputTable {
		return writeData(w, output, s)
	}
	now := time.Now()
	rows := [][]string{
		{"Node:", cmp.Or(s.Node.Nodename, s.Node.Hostname, s.Node.ID)},
		{"Address:", s.Node.Address.String()},
		{"Cluster:", s.Cluster + "…"},
		{"Data plane:", dataPlaneLine(s)},
	}
	for _, d := range s.Discovery {
		rows = append(rows, []string{"Discovery:", discoveryLine(d, now)})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	for _, c := range s.Conditions {
		fmt.Fprintf(w, "Problem: %s: %s\n", c.Type, c.Message)
	}
	if len(s.Peers) == 0 {
		_, err := fmt.Fprintln(w, "No peers yet.")
		return err
	}
	fmt.Fprintln(w)
	return table(w, peerRows(s.Peers, now))
}

func dataPlaneLine(s *agent.Status) string {
	if !s.Enabled {
		return "off, this node only takes part in discovery: " + node.EnableHint
	}
	line := fmt.Sprintf("%s, UDP port %d, MTU %d", strings.TrimSpace(s.Backend+" "+s.Node.Interface), s.Node.ListenPort, s.Node.MTU)
	if s.BackendReason != "" {
		line += " (" + s.BackendReason + ")"
	}
	return line
}

func discoveryLine(d agent.DiscoveryStatus, now time.Time) string {
	state := "not connected"
	if d.Connected {
		state = "connected"
	}
	line := fmt.Sprintf("%s %s, %s", d.Name, cmp.Or(d.Server, "-"), state)
	if !d.Since.IsZero() {
		line += " for " + ago(now, d.Since)
	}
	if d.Error != "" {
		line += ": " + d.Error
	}
	return line
}

func peerRows(peers []agent.PeerView, now time.Time) [][]string {
	rows := [][]string{{"PEER", "STATE", "ADDRESS", "ENDPOINT", "HANDSHAKE", "RX", "TX"}}
	for _, p := range peers {
		handshake, endpoint := "never", "-"
		if !p.LastHandshake.IsZero() {
			handshake = ago(now, p.LastHandshake) + " ago"
		}
		if p.Endpoint.IsValid() {
			endpoint = p.Endpoint.String()
		}
		rows = append(rows, []string{
			p.Name(), p.State.String(), p.Address.String(), endpoint, handshake,
			bytesText(p.ReceiveBytes), bytesText(p.TransmitBytes),
		})
	}
	return rows
}

func ago(now, then time.Time) string {
	return max(0, now.Sub(then)).Round(time.Second).String()
}

// bytesText shows a count of bytes in binary units.
func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 4 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix])
}
