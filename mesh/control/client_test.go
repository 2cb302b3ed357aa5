package control

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control/http1"
)

func TestClient(t *testing.T) {
	c := serveControl(t, nil)
	p := c.up()
	ctx := t.Context()
	cl := NewClient(c.path)

	s, err := cl.Status(ctx)
	if err != nil || len(s.Peers) != 1 {
		t.Fatalf("Status = %+v, %v", s, err)
	}
	for _, name := range []string{"node-2", "NODE-2", p.PublicKey.String(), p.Address.String()} {
		if got, err := FindPeer(s, name); err != nil || got.PublicKey != p.PublicKey {
			t.Errorf("FindPeer(%q) = %+v, %v", name, got, err)
		}
	}
	if _, err := FindPeer(s, "node-3"); err == nil || !strings.Contains(err.Error(), "known are: node-2") {
		t.Errorf("an unknown peer: %v", err)
	}
	if rtt, err := cl.Ping(ctx, p.Address, 56, time.Second); err != nil || rtt <= 0 {
		t.Errorf("Ping = %v, %v", rtt, err)
	}
	if err := cl.Health(ctx, "ready"); err != nil {
		t.Errorf("Health = %v", err)
	}
	members, err := agent.FindResourceType("members")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := cl.Resources(ctx, ResourceQuery{Type: members, ID: "node-2"}); err != nil || len(list) != 1 {
		t.Errorf("Resources = %+v, %v", list, err)
	}
	e, err := cl.Explain(ctx, agent.ExplainQuery{To: p.Address, Port: 22, Protocol: "tcp"})
	if err != nil || e.Plan.Peer != "node-2" {
		t.Errorf("Explain = %+v, %v", e, err)
	}
	var refusal *Refusal
	if err := cl.Accept(ctx, "node-9"); !errors.As(err, &refusal) || refusal.Code != http1.StatusUnprocessable {
		t.Errorf("Accept = %v", err)
	}
	c.reload = func() (*agent.Effective, error) { return nil, errTest }
	if _, err := cl.Reload(ctx); err == nil || err.Error() != errTest.Error() {
		t.Errorf("Reload = %v", err)
	}

	var seen []mesh.PeerState
	err = cl.WatchStatus(ctx, func(s *agent.Status) (bool, error) {
		seen = append(seen, s.Peers[0].State)
		return false, nil
	})
	if err != nil || len(seen) != 1 {
		t.Errorf("WatchStatus saw %v, %v", seen, err)
	}
	err = cl.WatchResources(ctx, ResourceQuery{Type: members}, func(agent.Event) (bool, error) { return false, errTest })
	if !errors.Is(err, errTest) {
		t.Errorf("WatchResources = %v", err)
	}
	c.stop()
	if err := cl.Ended(ctx); err != nil {
		t.Errorf("Ended = %v", err)
	}
	if _, err := cl.Status(ctx); !errors.Is(err, ErrNoAgent) {
		t.Errorf("Status without an agent = %v", err)
	}
}

// A process that listens but never answers, as a stopped agent, is named.
func TestClientOfAStoppedAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	want := "the agent (pid " + strconv.Itoa(os.Getpid()) + ") does not answer"
	for name, call := range map[string]func(context.Context, *Client) error{
		"call":  func(ctx context.Context, c *Client) error { return c.call(ctx, request{path: "/v1/status"}, nil) },
		"watch": func(ctx context.Context, c *Client) error { return c.WatchStatus(ctx, nil) },
		"leave": func(ctx context.Context, c *Client) error { return c.Leave(ctx) },
		"ping": func(ctx context.Context, c *Client) error {
			_, err := c.Ping(ctx, netip.IPv6Loopback(), 56, time.Hour)
			return err
		},
		"connect": func(ctx context.Context, c *Client) error {
			_, err := c.Connect(ctx, "[::1]:80")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := NewClient(path)
			c.timeout = 10 * time.Millisecond
			if err := call(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			c.timeout = time.Hour
			if err := call(ctx, c); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v at the caller's deadline, want %q", err, want)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := NewClient(path).Status(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

// A watch that has begun notices it, too.
func TestWatchOfAStoppedAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	srv := http1.Server{HeadTime: time.Minute, Log: hclog.NewNullLogger(), Handler: func(_ context.Context, w *http1.Response, r *http1.Request) {
		if r.Path == "/v1/status" {
			_, _ = w.Write([]byte("{}\n"))
			_ = w.Flush()
		}
		<-release
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		close(release)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c := NewClient(path)
	c.timeout = time.Second
	seen := 0
	err = c.WatchStatus(t.Context(), func(*agent.Status) (bool, error) { seen++; return true, nil })
	if err == nil || !strings.Contains(err.Error(), "does not answer") || seen != 1 {
		t.Errorf("saw %d, error %v", seen, err)
	}
}
