package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/node"
)

const (
	demoTimeout  = 45 * time.Second
	demoHTTPPort = 80
)

var demoNames = []string{"alpha", "beta", "gamma"}

func (c *cli) demo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a mesh of three nodes on this machine, without privileges",
		Long: "Run a real mesh on this machine's loopback: a founder with its discovery server\n" +
			"and two nodes that join, each a process of its own with a netstack data plane.\n" +
			"Shows the peers coming up and sends an HTTP request across. Leaves nothing behind.",
		Example: "  wirespan demo",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the demo took longer than %s", demoTimeout))
			defer cancel()
			err := runDemo(ctx, c.out)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		},
	}
	cmd.AddCommand(c.demoNode())
	return cmd
}

// demoNode is an agent with something to talk to: a greeting on port 80 of its
// mesh address.
func (c *cli) demoNode() *cobra.Command {
	var join string
	cmd := &cobra.Command{
		Use:    "node",
		Hidden: true,
		Args:   arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := c.joinToken(join, cmd.Flags().Changed("join"))
			if err != nil {
				return err
			}
			return c.runAgent(cmd.Context(), token, func(nc *node.Config) {
				nc.Opened, nc.ShowToken = c.greet, func(token string) bool {
					_, err := fmt.Fprintln(c.out, token)
					return err == nil
				}
			})
		},
	}
	cmd.Flags().StringVar(&join, "join", "", "join token")
	return c.configures(cmd)
}

// greet serves HTTP on the netstack for as long as that lives.
func (c *cli) greet(stack *netstack.Netstack) {
	l, err := stack.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), demoHTTPPort))
	if err != nil {
		fmt.Fprintln(c.err, "demo:", err)
		return
	}
	name := c.flags.Lookup("nodename").Value.String()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s, you came as %s", name, r.RemoteAddr)
	})
	go func() { _ = http.Serve(l, handler) }()
}

// demoMesh is the running demo.
type demoMesh struct {
	out   io.Writer
	dir   string
	nodes []*demoProcess
}

func runDemo(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "wirespan-demo-")
	if err != nil {
		return err
	}
	m := &demoMesh{out: out, dir: dir}
	defer func() {
		m.stop()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	started := time.Now()
	fmt.Fprintln(out, "Starting three nodes on 127.0.0.1, without privileges:")
	token := ""
	for i, name := range demoNames {
		if err := m.start(name, token); err != nil {
			return err
		}
		if i == 0 {
			if token, err = m.token(ctx); err != nil {
				return err
			}
		}
	}
	if err := m.watchUntilUp(ctx, started); err != nil {
		return m.explain(err)
	}
	if err := m.request(ctx); err != nil {
		return m.explain(err)
	}
	_, err = fmt.Fprint(out, demoEpilogue)
	return err
}

const demoEpilogue = `
That was a real mesh: discovery over TLS, WireGuard over UDP, HTTP inside it.
On real boxes it takes two commands:

    box1$ sudo wirespan up                     # prints the next one, with its token
    box2$ sudo wirespan up --join wirespan1.…
`

// watchUntilUp shows the peers of the last node whenever a state changes, until
// every node sees all others up.
func (m *demoMesh) watchUntilUp(ctx context.Context, started time.Time) error {
	last := m.nodes[len(m.nodes)-1]
	if err := m.waitForSocket(ctx, last); err != nil {
		return err
	}
	fmt.Fprintf(m.out, "\nPeers as %s sees them:\n", last.name)
	shown := ""
	err := last.client.WatchStatus(ctx, func(s *agent.Status) (bool, error) {
		states, up := "", 0
		for _, p := range s.Peers {
			states += p.Label + p.State.String()
			if p.State == mesh.PeerStateUp {
				up++
			}
		}
		if states != shown {
			shown = states
			fmt.Fprintf(m.out, "after %s\n", time.Since(started).Round(10*time.Millisecond))
			if err := peerTable(s.Peers, time.Now(), width(m.out)).write(m.out); err != nil {
				return false, err
			}
		}
		return up < len(m.nodes)-1, nil
	})
	return err
}

// request sends an HTTP request from the last node to the one in the middle,
// two nodes that never talked before they met through discovery.
func (m *demoMesh) request(ctx context.Context) error {
	from, to := m.nodes[2], m.nodes[1]
	s, err := to.client.Status(ctx)
	if err != nil {
		return err
	}
	target := netip.AddrPortFrom(s.Node.Address, demoHTTPPort).String()
	fmt.Fprintf(m.out, "\n%s asks %s over the mesh: GET http://%s/\n", from.name, to.name, target)
	conn, err := from.client.Connect(ctx, target)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", target); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("answer of %s: %w", to.name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("answer of %s: %w", to.name, err)
	}
	fmt.Fprintf(m.out, "%s answers: %s %q\n", to.name, resp.Status, body)
	if resp.StatusCode != http.StatusOK || !bytes.HasPrefix(body, []byte("hello from "+to.name)) {
		return fmt.Errorf("%s gave another answer than expected", to.name)
	}
	return nil
}
