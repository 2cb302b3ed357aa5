// Package demo runs a mesh of three nodes on one machine, to show what it does.
//
// [Run] starts the nodes, each a process of its own with a netstack data plane on
// loopback, waits until they see each other and sends a request across. It needs no
// privileges. All processes and files are gone when it returns. [Greet] is for the
// nodes: it answers the request.
package demo

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

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

const httpPort = 80

var names = []string{"alpha", "beta", "gamma"}

// Config says how to run the demo.
type Config struct {
	Node []string  // the command of one node, which takes the flags of wirespan up
	Out  io.Writer // what happens is told here
	Show func(w io.Writer, peers []agent.PeerView) error
}

// Greet serves HTTP on the netstack for as long as that lives: a greeting on port 80
// of the node's mesh address.
func Greet(stack *netstack.Netstack, name string, log hclog.Logger) {
	l, err := stack.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), httpPort))
	if err != nil {
		log.Error("demo", "error", err)
		return
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s, you came as %s", name, r.RemoteAddr)
	})
	go func() { _ = http.Serve(l, handler) }()
}

// running is the running demo.
type running struct {
	Config
	dir   string
	nodes []*process
}

// Run runs the demo.
func Run(ctx context.Context, c Config) (err error) {
	dir, err := os.MkdirTemp("", "wirespan-demo-")
	if err != nil {
		return err
	}
	m := &running{Config: c, dir: dir}
	defer func() {
		m.stop()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	started := time.Now()
	fmt.Fprintln(c.Out, "Starting three nodes on 127.0.0.1, without privileges:")
	token := ""
	for i, name := range names {
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
	_, err = fmt.Fprint(c.Out, epilogue)
	return err
}

const epilogue = `
That was a real mesh: discovery over TLS, WireGuard over UDP, HTTP inside it.
On real boxes it takes two commands:

    box1$ sudo wirespan up                     # prints the next one, with its token
    box2$ sudo wirespan up --join wirespan2.…
`

// watchUntilUp shows the peers of the last node whenever a state changes, until
// it sees all others up.
func (m *running) watchUntilUp(ctx context.Context, started time.Time) error {
	last := m.nodes[len(m.nodes)-1]
	if err := m.waitForSocket(ctx, last); err != nil {
		return err
	}
	fmt.Fprintf(m.Out, "\nPeers as %s sees them:\n", last.name)
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
			fmt.Fprintf(m.Out, "after %s\n", time.Since(started).Round(10*time.Millisecond))
			if err := m.Show(m.Out, s.Peers); err != nil {
				return false, err
			}
		}
		return up < len(m.nodes)-1, nil
	})
	return err
}

// request sends an HTTP request from the last node to the one in the middle,
// two nodes that never talked before they met through discovery.
func (m *running) request(ctx context.Context) error {
	from, to := m.nodes[2], m.nodes[1]
	s, err := to.client.Status(ctx)
	if err != nil {
		return err
	}
	target := netip.AddrPortFrom(s.Node.Address, httpPort).String()
	fmt.Fprintf(m.Out, "\n%s asks %s over the mesh: GET http://%s/\n", from.name, to.name, target)
	conn, err := from.client.Connect(ctx, target)
	if err != nil && ctx.Err() == nil {
		// When both ends start the first handshake at once, one direction can lack a
		// session for 15 s, which is longer than Connect tries.
		conn, err = from.client.Connect(ctx, target)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
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
	fmt.Fprintf(m.Out, "%s answers: %s %q\n", to.name, resp.Status, body)
	if resp.StatusCode != http.StatusOK || !bytes.HasPrefix(body, []byte("hello from "+to.name)) {
		return fmt.Errorf("%s gave another answer than expected", to.name)
	}
	return nil
}
