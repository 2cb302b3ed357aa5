package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) netcheck() *cobra.Command {
	var output string
	var servers []string
	cmd := &cobra.Command{
		Use:   "netcheck",
		Short: "Find out about NATs, and whether servers answer",
		Long: "Find out which kind of NAT this host is behind, at which addresses others see it, and\n" +
			"whether the STUN and discovery servers answer. A running agent asks from WireGuard's\n" +
			"own port. Without one, and with --stun, the command asks from a port of its own. How a NAT\n" +
			"maps ports shows with servers at two addresses, what it lets in with one that has two\n" +
			"(RFC 5780, coturn for example); otherwise it says unknown. PORT MAPPING is what the router\n" +
			"maps to this node by PCP, NAT-PMP or UPnP, or why nothing. Takes up to 15 s.",
		Example: "  wirespan netcheck\n" +
			"  wirespan netcheck --stun stun.example.org:3478 -o json",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := c.checkNetwork(cmd, servers)
			if err != nil {
				return err
			}
			if output != outputTable {
				return writeData(c.out, output, n)
			}
			return printNetcheck(c.out, n)
		},
	}
	cmd.Flags().Var((*texts)(&servers), "stun", "STUN servers (host[:port]) to ask from a port of this command's own, whether or not an agent runs")
	c.outputFlag(cmd, &output)
	return c.asks(cmd)
}

func (c *cli) checkNetwork(cmd *cobra.Command, servers []string) (mesh.Netcheck, error) {
	if cmd.Flags().Changed("stun") {
		servers = strings.Split(strings.Join(servers, ","), ",")
	}
	for i, s := range servers {
		server, err := config.ParseSTUNServer(s)
		if err != nil {
			return mesh.Netcheck{}, usageError{fmt.Errorf("--stun: %w", err)}
		}
		servers[i] = server
	}
	if len(servers) > 0 {
		cfg, err := c.loadSettings()
		if err != nil {
			return mesh.Netcheck{}, err
		}
		return node.Netcheck(cmd.Context(), cfg, servers)
	}
	cl, err := c.client()
	if err != nil {
		return mesh.Netcheck{}, err
	}
	n, err := cl.Netcheck(cmd.Context())
	if !errors.Is(err, control.ErrNoAgent) {
		return n, err
	}
	cfg, err := c.load()
	if err != nil {
		return mesh.Netcheck{}, err
	}
	return node.Netcheck(cmd.Context(), cfg, nil)
}

func printNetcheck(w io.Writer, n mesh.Netcheck) error {
	families := table{gap: 2}
	families.add("FAMILY", "NAT", "MAPPING", "FILTERING", "SAME PORT", "HAIRPIN", "SEEN AT")
	for _, f := range n.Families {
		if !f.Available {
			families.add(f.Family, "no route")
			continue
		}
		hairpin := "unknown"
		if f.Hairpin != nil {
			hairpin = yes(*f.Hairpin)
		}
		same := "unknown"
		if len(f.Mapped) > 0 {
			same = yes(f.SamePort)
		}
		families.add(f.Family, f.Type, string(f.Mapping), string(f.Filtering), same, hairpin, endpoints(f.Mapped))
	}
	if err := families.write(w); err != nil {
		return err
	}
	if err := printPortMapping(w, n.PortMapping); err != nil {
		return err
	}
	if err := printServers(w, "STUN", n.STUN); err != nil {
		return err
	}
	if err := printServers(w, "DISCOVERY", n.Discovery); err != nil {
		return err
	}
	if err := printPeers(w, n.Peers); err != nil {
		return err
	}
	printRelays(w, n)
	return nil
}

func printPeers(w io.Writer, peers []mesh.PeerCheck) error {
	if len(peers) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := table{gap: 2}
	t.add("PEER", "STATE", "ENDPOINT", "MTU", "RTT")
	for _, p := range peers {
		mtu := "unknown"
		if p.MTU > 0 {
			mtu = fmt.Sprint(p.MTU)
		}
		rtt, place := "unknown", endpoint(p.Endpoint)
		if p.RTT > 0 {
			rtt = fmt.Sprintf("%.1fms", p.RTT)
		}
		if p.Relay != "" {
			place += " via " + mesh.QuoteName(p.Relay)
		}
		t.add(mesh.QuoteName(p.Name), p.State.String(), place, mtu, rtt)
	}
	return t.write(w)
}

// printPortMapping shows what the gateway maps, or why it maps nothing.
func printPortMapping(w io.Writer, m mesh.PortMapping) error {
	fmt.Fprintln(w)
	gateway := table{gap: 2}
	gateway.add("PORT MAPPING", "GATEWAY", "EXTERNAL ADDRESS")
	gateway.add(cmp.Or(m.Protocol, "none"), addressText(m.Gateway), addressText(m.External))
	if err := gateway.write(w); err != nil {
		return err
	}
	if m.Reason != "" {
		_, err := fmt.Fprintf(w, "because %s\n", m.Reason)
		return err
	}
	fmt.Fprintln(w)
	ports := table{gap: 2}
	ports.add("PORT", "MAPPED AT", "UNTIL", "USE")
	for _, p := range m.Ports {
		until := "-"
		switch {
		case p.External.IsValid() && p.Expires.IsZero():
			until = "removed"
		case p.External.IsValid():
			until = p.Expires.Local().Format(time.TimeOnly)
		}
		use := p.Use
		if p.Reason != "" {
			use += ": " + p.Reason
		}
		ports.add(fmt.Sprintf("%s/%d", p.Network, p.Port), endpoint(p.External), until, use)
	}
	return ports.write(w)
}

func printServers(w io.Writer, kind string, servers []mesh.ServerCheck) error {
	if len(servers) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := table{gap: 2}
	t.add(kind+" SERVER", "ADDRESS", "TIME", "RESULT")
	for _, s := range servers {
		took, result := "-", s.Error
		if s.Error == "" {
			took, result = fmt.Sprintf("%.1fms", s.Millis), "answers"
			if s.Mapped.IsValid() {
				result = "sees " + s.Mapped.String()
			}
		}
		t.add(s.Server, endpoint(s.Address), took, result)
	}
	return t.write(w)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func endpoint(a netip.AddrPort) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func endpoints(list []netip.AddrPort) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return cmp.Or(strings.Join(out, " "), "-")
}
