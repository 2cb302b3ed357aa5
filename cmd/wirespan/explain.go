package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

func (c *cli) explain() *cobra.Command {
	var output, from string
	cmd := &cobra.Command{
		Use:   "explain ADDRESS[:PORT[/PROTO]]",
		Short: "Say where a packet goes, and why",
		Long: "Say where a packet goes, and why: into the tunnel and to which peer, past it, or\n" +
			"nowhere. It says so by the agent's plan and by what the kernel has, and complains\n" +
			"if the two differ (exit code 1). With --from the packet comes from that peer by the\n" +
			"mesh, and the ingress rules decide. ADDRESS may be a peer's name, PROTO is tcp,\n" +
			"udp, icmp or icmpv6 (tcp if only a port is given).",
		Example: "  wirespan explain 10.2.0.7\n" +
			"  wirespan explain 10.2.0.7:53/udp -o json\n" +
			"  wirespan explain [fd51:465f:4361:b102::1]:22 --from box2",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := control.ParseTarget(args[0])
			if err != nil {
				return usageError{err}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			query, err := t.Query(cmd.Context(), cl, from)
			if err != nil {
				return err
			}
			e, err := cl.Explain(cmd.Context(), query)
			if err != nil {
				return err
			}
			if output == outputTable {
				c.printExplanation(e, args[0])
			} else if err := writeData(c.out, output, e); err != nil {
				return err
			}
			if e.Difference != "" {
				return fmt.Errorf("%s: if that lasts, see the conditions of wirespan status", e.Difference)
			}
			return nil
		},
	}
	cmd.ValidArgsFunction = c.offerPeers()
	cmd.Flags().StringVar(&from, "from", "", "the peer, or its address, that sends the packet through the mesh")
	c.completes(cmd, "from", func(cmd *cobra.Command, _ []string, given string) ([]string, cobra.ShellCompDirective) {
		return c.offerPeers()(cmd, nil, given)
	})
	c.outputFlag(cmd, &output)
	return c.asks(cmd)
}

func (c *cli) printExplanation(e agent.Explanation, target string) {
	fmt.Fprintf(c.out, "%s: %s\n", target, sentence(e))
	fmt.Fprintln(c.out, "\nBy the plan:")
	c.printReasons(e.Plan)
	if e.Kernel != nil {
		fmt.Fprintln(c.out, "\nBy the kernel:")
		c.printReasons(*e.Kernel)
	}
	if len(e.Conditions) > 0 {
		fmt.Fprintln(c.out, "\nConditions:")
	}
	for _, cond := range e.Conditions {
		fmt.Fprintf(c.out, "  %s\n    %s\n", cond.Type, cond.Message)
	}
}

func sentence(e agent.Explanation) string {
	peer := mesh.QuoteName(e.Plan.Peer)
	if peer != "" && e.State != nil {
		peer = fmt.Sprintf("%s, which is %s", peer, e.State)
	}
	switch e.Plan.Path {
	case firewall.PathLocal:
		return "delivered on this node"
	case firewall.PathTunnel:
		if peer == "" {
			return "into the tunnel, where no peer has it: dropped"
		}
		return "through the tunnel to " + peer
	case firewall.PathBypass:
		if peer == "" {
			return "past the tunnel: no peer has it"
		}
		return fmt.Sprintf("past the tunnel (%s), although it belongs to %s", e.Route, peer)
	}
	return "refused"
}

func (c *cli) printReasons(e firewall.Explanation) {
	fmt.Fprintf(c.out, "  %s\n", e.Path)
	for _, r := range e.Reasons {
		fmt.Fprintf(c.out, "    %-12s %s\n", r.Where, r.Text)
	}
}
