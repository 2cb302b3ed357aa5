package service

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/rpc"
	"github.com/wirespan/wirespan/mesh"
)

func TestNewChecks(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"no endpoint":                         func(c *Config) { c.Endpoints = nil },
		`endpoint "a": not host:port`:         func(c *Config) { c.Endpoints = []string{"a"} },
		`endpoint "a:0": port`:                func(c *Config) { c.Endpoints = []string{"a:0"} },
		`endpoint "a:65536": port`:            func(c *Config) { c.Endpoints = []string{"a:65536"} },
		`endpoint ":1": not a host`:           func(c *Config) { c.Endpoints = []string{":1"} },
		`endpoint "https://a:1": not host`:    func(c *Config) { c.Endpoints = []string{"https://a:1"} },
		"cluster id has 0 bytes":              func(c *Config) { c.ClusterID = "" },
		"cluster id has 257 bytes":            func(c *Config) { c.ClusterID = strings.Repeat("x", 257) },
		"affiliate id is empty":               func(c *Config) { c.AffiliateID = "" },
		"no cluster secret":                   func(c *Config) { c.Secret = mesh.Secret{} },
		"TTL 31m0s is not within 1s to 30m0s": func(c *Config) { c.TTL = 31 * time.Minute },
		"no certificate to pin":               func(c *Config) { c.Pin = [32]byte{1} },
	} {
		c := config("a:1")
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for _, e := range []string{"a:1", "[::1]:443", "192.0.2.1:1", "[fe80::1%eth0]:1", "under_score.example.org:1"} {
		if _, err := New(config(e)); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
}

func TestNextEndpoint(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.start("c:1", sealed(t, secret, "p1", ""))
		start := time.Now()
		c := run(t, n, config("a:1", "b:1", "c:1"))
		wantIDs(t, c, "p1")
		if !time.Now().Equal(start) {
			t.Errorf("it took %v to try three endpoints", time.Since(start))
		}
		n.stop("c:1")
		n.start("b:1", sealed(t, secret, "p1", ""))
		time.Sleep(2 * time.Second)
		if synctest.Wait(); c.Snapshot().Server != "b:1" || !c.Snapshot().Connected {
			t.Errorf("snapshot %+v", c.Snapshot())
		}
		want := []string{"a:1", "b:1", "c:1", "c:1", "b:1"} // a lost server is tried again first
		if got := n.dialed(); !slices.Equal(got, want) {
			t.Errorf("dialed %q, want %q", got, want)
		}
	})
}

func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		run(t, n, config("a:1"))
		synctest.Wait()
		if got := len(n.dialed()); got != 1 {
			t.Fatalf("%d tries at once, want 1", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := len(n.dialed()); got < 60 || got > 140 {
			t.Errorf("%d tries in an hour", got)
		}
	})
	var b backoff
	base := firstBackoff
	for range 40 {
		if got := b.next(); got < base/2 || got > min(base*3/2, maxBackoff) {
			t.Fatalf("waits %v for a base of %v", got, base)
		}
		base = min(base*3/2, maxBackoff)
	}
}

func TestRedirect(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.start("a:1").redirect = "a:2"
		b := n.start("a:2", sealed(t, secret, "p1", ""))
		c := run(t, n, config("a:1"))
		wantIDs(t, c, "p1")
		if got := c.Snapshot().Server; got != "a:2" {
			t.Errorf("server %s", got)
		}
		b.endWatches()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := n.dialed(); !slices.Equal(got, []string{"a:1", "a:2", "a:2"}) {
			t.Errorf("dialed %q: the redirect must last", got)
		}
		n.stop("a:2")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := n.dialed(); !slices.Equal(got[:5], []string{"a:1", "a:2", "a:2", "a:2", "a:1"}) {
			t.Errorf("dialed %q: a dead target must lead back", got)
		}
		if err := c.Delete(t.Context(), mesh.Affiliate{}); err == nil {
			t.Error("deleted at a dead server")
		}
	})
}

func TestRedirectsAreBounded(t *testing.T) {
	for target, want := range map[string]string{
		"a:1":          "redirected more than 3 times in a row",
		"a:2":          "discovery service a:2: hello: Unavailable",
		"b:1":          "it redirects to b:1, another host",
		"nonsense":     `redirect: endpoint "nonsense": not host:port`,
		"unix:///a:1":  "redirect: endpoint",
		"evil\x1b[m:1": "redirect: endpoint",
	} {
		bubble(t, func(t *testing.T, n *network) {
			n.start("a:1").redirect = target
			c := run(t, n, config("a:1"))
			synctest.Wait()
			if err := c.Snapshot().LastError; err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%q: error %v, want %q", target, err, want)
			}
			if got := len(n.dialed()); got > maxRedirects+1 {
				t.Errorf("%q: %d connections", target, got)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.start("b:1").redirect = "b:2"
		f := n.start("b:2")
		cfg := config("a:1", "b:1")
		idle, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		idle.dial = n.dial
		if err := idle.Delete(t.Context(), mesh.Affiliate{}); err != nil {
			t.Errorf("without Run: %v", err)
		}
		c := run(t, n, cfg)
		c.Publish(local("h"))
		wantUpdates(t, f, "self data:h")
		if err := c.Delete(t.Context(), mesh.Affiliate{}); err != nil {
			t.Errorf("with Run: %v", err)
		}
		if !slices.Equal(f.deletes, []string{"self", "self"}) {
			t.Errorf("deleted %q", f.deletes)
		}
		time.Sleep(discovery.MaxTTL)
		wantUpdates(t, f)
		c.Publish(local("h"))
		wantUpdates(t, f, "self data:h")
	})
}

// What the dialer puts around a reason is left out.
func TestRPCError(t *testing.T) {
	for want, err := range map[string]error{
		"hello: Unavailable: connection refused": &rpc.Error{
			Code:    rpc.Unavailable,
			Message: "dial tcp 127.0.0.1:9: connect: connection refused",
		},
		"hello: DeadlineExceeded: no answer in time":        &rpc.Error{Code: rpc.DeadlineExceeded, Message: "context deadline exceeded"},
		"hello: InvalidArgument: a server's text in a line": &rpc.Error{Code: rpc.InvalidArgument, Message: "a server's text\nin a line"},
		"hello: something else":                             errors.New("something else"),
	} {
		if got := rpcError("hello", err); got.Error() != want {
			t.Errorf("%v, want %q", got, want)
		}
	}
}
