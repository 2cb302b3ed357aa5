package e2e

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wirespan/wirespan/bench"
)

// TestNetnsBench runs wirespan bench between members of a mesh, through the tunnel and
// beside it.
func TestNetnsBench(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	requireTools(t)
	l := newLab(t, buildBinary(t))
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("").unprivileged()
	stranger := l.host("d")
	token := a.found()
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	a.pings(b)
	a.pings(c)
	b.pings(c)

	server := b.spawn("serve", b.argv("bench", "serve", "--underlay")...)
	defer server.end(t, syscall.SIGTERM)
	stranger.isNotServed(b)

	run := func(from *labNode, args ...string) *bench.Report {
		t.Helper()
		argv := append([]string{"bench", "run", "b", "--quick", "--duration", "50ms", "--streams", "2", "-o", "json"}, args...)
		out, err := from.cli(argv...)
		if err != nil {
			t.Fatal(err)
		}
		r, err := bench.Decode(strings.NewReader(out[strings.Index(out, "{"):]), "report")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := run(a, "--underlay")
	if len(r.Runs) != 2 || r.Runs[0].Subject != "mesh" || r.Runs[1].Subject != "underlay" || r.Base != "underlay" {
		t.Fatalf("runs %+v, base %s", r.Runs, r.Base)
	}
	for i, mtu := range []float64{1420, 1500} {
		for _, id := range []string{"tcp.up.2", "tcp.down.2", "tcp.both.2", "udp.max", "udp.pps.mtu", "rtt.idle.p50", "rtt.load.p99", "connect.tcp"} {
			if r.Runs[i].Values[id] <= 0 {
				t.Errorf("%s: %s = %g", r.Runs[i].Subject, id, r.Runs[i].Values[id])
			}
		}
		if got := r.Runs[i].Values["mtu"]; got != mtu {
			t.Errorf("%s: MTU %g, want %g", r.Runs[i].Subject, got, mtu)
		}
	}
	// From a netstack, through its agent.
	r = run(c)
	if v := r.Runs[0].Values; v["tcp.both.2"] <= 0 || v["rtt.idle.p50"] <= 0 || v["udp.max"] != 0 {
		t.Errorf("from a netstack: %v", v)
	}
	benchRefusals(t, a, c)
}

// isNotServed checks that the bench server of a node does not serve this host, which is
// not in the mesh.
func (h *labHost) isNotServed(by *labNode) {
	h.Helper()
	eventually(h.T, 10*time.Second, func() error {
		conn, err := h.dial(h.Context(), "tcp", by.address+":51830")
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, `{"protocol":"wirespan.load/1","echo":true}`+"\n")
		if n, err := conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			h.Errorf("a stranger beside the mesh was served: %d bytes, %v", n, err)
		}
		return nil
	})
}

// benchRefusals checks that a bench command that cannot run says why.
func benchRefusals(t *testing.T, a, c *labNode) {
	t.Helper()
	if out, err := c.cli("bench", "serve"); err == nil || !strings.Contains(out, "serve on the other node") {
		t.Errorf("serving on a netstack: %v: %s", err, out)
	}
	if out, err := a.cli("bench", "run", "c"); err == nil || !strings.Contains(out, "connection refused") {
		t.Errorf("measuring towards a node that serves nothing: %v: %s", err, out)
	}
	if out, err := a.cli("bench", "run", "nobody"); err == nil || !strings.Contains(out, "not in the mesh") {
		t.Errorf("measuring to an unknown node: %v: %s", err, out)
	}
}
