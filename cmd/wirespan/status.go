package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh"
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
		Long: "Show this node and its peers, and the reason for each that is not up. The output\n" +
			"takes the width of the terminal, but at least 80 columns, and 80 in a pipe: long\n" +
			"names and endpoints are shortened. With --watch it is drawn again in place on a\n" +
			"terminal, and appended elsewhere.\n" +
			"Scripts use -o json.",
		Example: "  wirespan status\n" +
			"  wirespan status --watch\n" +
			"  wirespan status --check ready && echo usable",
		Args: arguments(0, 0),
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
				return quietCancel(cl.WatchStatus(ctx, func(s *agent.Status) (bool, error) { return true, c.redraw(output, s) }))
			}
			s, err := cl.Status(cmd.Context())
			if err != nil {
				return err
			}
			return c.showStatus(output, s)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show every change")
	cmd.Flags().StringVar(&check, "check", "", "only set the exit code: live (the agent works) or ready (the node can use the mesh)")
	c.completes(cmd, "check", cobra.FixedCompletions([]string{"live", "ready"}, cobra.ShellCompDirectiveNoFileComp))
	c.outputFlag(cmd, &output)
	return c.asks(cmd)
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

func (c *cli) showStatus(output string, s *agent.Status) error {
	if output != outputTable {
		return writeData(c.out, output, s)
	}
	return writeStatus(c.out, s, time.Now(), width(c.out))
}

// redraw shows one of several statuses: in place of the one before on a terminal,
// and below it elsewhere.
func (c *cli) redraw(output string, s *agent.Status) error {
	if output != outputTable || !isTerminal(c.out) {
		if output != outputJSON {
			fmt.Fprintln(c.out, "---")
		}
		return c.showStatus(output, s)
	}
	var text strings.Builder
	columns, lines := size(c.out)
	if err := writeStatus(&text, s, time.Now(), columns); err != nil {
		return err
	}
	_, err := io.WriteString(c.out, frame(text.String(), columns, lines))
	return err
}

// labelWidth is the width of the labels above the peers.
const labelWidth = 14

// writeStatus writes a status in so many columns.
func writeStatus(w io.Writer, s *agent.Status, now time.Time, columns int) error {
	columns = max(columns, minWidth)
	field := func(label, text string) {
		for i, line := range wrap(text, columns-labelWidth) {
			if i > 0 {
				label = ""
			}
			fmt.Fprintf(w, "%-*s%s\n", labelWidth, label, line)
		}
	}
	field("State:", stateLine(s))
	for _, c := range s.Conditions {
		field("Problem:", fmt.Sprintf("%s: %s", c.Type, c.Message))
	}
	field("Node:", cmp.Or(s.Node.Nodename, s.Node.Hostname, s.Node.ID))
	if s.Node.Ephemeral {
		field("Identity:", "ephemeral: the state is in memory, and after the next boot this is another node")
	}
	field("Address:", addressText(s.Node.Address))
	field("Cluster:", s.Cluster+"…")
	field("Data plane:", dataPlaneLine(s))
	if mapped := mappedLine(s.PortMapping); mapped != "" {
		field("Mapped ports:", mapped)
	}
	for _, r := range s.Relays {
		field("Relay:", relayLine(r))
	}
	if line := relayingLine(s.Relaying); line != "" {
		field("Relaying:", line)
	}
	for _, d := range s.Discovery {
		field("Discovery:", discoveryLine(d, now))
	}
	if len(s.Peers) == 0 {
		_, err := fmt.Fprintln(w, "No peers yet.")
		return err
	}
	fmt.Fprintln(w)
	return peerTable(s.Peers, now, columns).write(w)
}

// mappedLine says which ports the gateway maps to this node; empty if it maps none.
func mappedLine(m mesh.PortMapping) string {
	var parts []string
	for _, p := range m.Ports {
		if p.External.IsValid() {
			parts = append(parts, fmt.Sprintf("%s at %s %v", p.Use, p.Network, p.External))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s of %v)", strings.Join(parts, ", "), m.Protocol, m.Gateway)
}

// stateLine says how the node fares.
func stateLine(s *agent.Status) string {
	var parts []string
	switch {
	case !s.Ready:
		parts = append(parts, "not ready: "+s.NotReady)
	case !s.Enabled:
		parts = append(parts, "discovery only")
	default:
		parts = append(parts, "up")
	}
	if len(s.Peers) > 0 {
		up := 0
		for _, p := range s.Peers {
			if p.State == mesh.PeerStateUp {
				up++
			}
		}
		parts = append(parts, fmt.Sprintf("%d of %d peers up", up, len(s.Peers)))
	}
	return strings.Join(parts, ", ")
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
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
	switch {
	case d.Kind == "cache":
		return fmt.Sprintf("cache %s, nodes: %d, last confirmed %s", d.Server, d.Affiliates, agoText(now, d.Since))
	case d.Kind == "static" && d.Connected:
		return fmt.Sprintf("static %s, peers: %d", d.Server, d.Affiliates)
	}
	state := "not connected"
	if d.Connected {
		state = "connected"
	}
	line := fmt.Sprintf("%s %s, %s", d.Name, cmp.Or(d.Server, "-"), state)
	if !d.Since.IsZero() {
		line += " for " + ago(now, d.Since)
	}
	switch {
	case d.Error == "":
	case d.Connected: // the problem that says why is shown already
		line += ", this node is not published"
	default:
		line += ": " + d.Error
	}
	return line
}

// agoText is ago for a time that may not be known.
func agoText(now, then time.Time) string {
	if then.IsZero() {
		return "at an unknown time"
	}
	return ago(now, then) + " ago"
}

// sourcesText names the sources of a node, and how long ago those said so that no longer do.
func sourcesText(sources []agent.SourceView, now time.Time) string {
	var out []string
	for _, s := range sources {
		text := s.Source
		if !s.Last.IsZero() {
			text += " " + agoText(now, s.Last)
		}
		out = append(out, text)
	}
	return cmp.Or(strings.Join(out, ", "), "-")
}

// otherSources reports whether a peer is known from elsewhere than one discovery service that
// answers.
func otherSources(p agent.PeerView) bool {
	return len(p.Sources) > 1 || len(p.Sources) == 1 && (!p.Sources[0].Last.IsZero() || !strings.HasPrefix(p.Sources[0].Source, "service/"))
}

// peerTable returns a table of so many columns: one line for each peer, with all
// there is, if that fits. Otherwise the address and the reason are below, and long
// names and endpoints are shortened.
func peerTable(peers []agent.PeerView, now time.Time, columns int) table {
	all := table{rows: [][]string{{"PEER", "STATE", "HANDSHAKE", "RX", "TX", "ENDPOINT", "ADDRESS", "REASON"}}, gap: 3}
	sources := slices.ContainsFunc(peers, otherSources)
	if sources {
		all.rows[0] = append(all.rows[0][:7:7], "SOURCES", "REASON")
	}
	for _, p := range peers {
		handshake, endpoint := "never", "-"
		if !p.LastHandshake.IsZero() {
			handshake = ago(now, p.LastHandshake) + " ago"
		}
		if p.Endpoint.IsValid() {
			endpoint = placeText(p)
		}
		all.rows = append(all.rows, []string{
			mesh.QuoteName(p.Name()), p.State.String(), handshake, bytesText(p.ReceiveBytes), bytesText(p.TransmitBytes),
			endpoint, addressText(p.Address), p.Reason,
		})
		if sources {
			last := &all.rows[len(all.rows)-1]
			*last = append((*last)[:7:7], sourcesText(p.Sources, now), p.Reason)
		}
	}
	if sum(widths(all.rows))+(len(all.rows[0])-1)*all.gap <= columns {
		return all
	}
	const endpointColumn, cells = 5, 6
	t := table{below: map[int][]string{}, gap: 2}
	for i, row := range all.rows {
		t.rows = append(t.rows, row[:cells])
		if i > 0 {
			t.below[i] = []string{"  " + row[cells]}
			if sources {
				t.below[i][0] += "  from " + row[cells+1]
			}
			if reason := row[len(row)-1]; reason != "" {
				for _, line := range wrap(reason, columns-4) {
					t.below[i] = append(t.below[i], "  "+line)
				}
			}
		}
	}
	const leastName, leastEndpoint = 12, 21 // an IPv4 endpoint is whole
	w := widths(t.rows)
	excess := sum(w) + (cells-1)*t.gap - columns
	endpoint := max(w[endpointColumn]-max(0, excess), min(w[endpointColumn], leastEndpoint))
	excess -= w[endpointColumn] - endpoint
	name := max(w[0]-max(0, excess), min(w[0], leastName))
	for _, row := range t.rows {
		row[0], row[endpointColumn] = shorten(row[0], name), shorten(row[endpointColumn], endpoint)
	}
	return t
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}

// ago returns how long something is past, in its largest unit.
func ago(now, then time.Time) string {
	d := max(0, now.Sub(then)).Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
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
