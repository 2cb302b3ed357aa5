package agent

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestControlSocketInUse(t *testing.T) {
	c := serveControl(t, nil)
	want := fs.FileMode(0o600)
	if _, err := user.LookupGroup(controlGroup); err == nil {
		want = 0o660
	}
	if info, err := os.Stat(c.path); err != nil || info.Mode().Perm() != want {
		t.Errorf("mode %v, %v; want %v", info.Mode(), err, want)
	}
	cfg := ControlConfig{Path: c.path, Agent: c.agent, Metrics: http.NotFoundHandler(), Log: hclog.NewNullLogger()}
	if _, err := OpenControl(cfg); !errors.Is(err, ErrSocketInUse) {
		t.Errorf("OpenControl on a live socket = %v", err)
	}
	c.want("GET", "/v1/health/live", 200, "ok")

	stale := filepath.Join(t.TempDir(), "below", "s")
	cfg.Path = stale
	for range 2 { // the second time it is there, and nobody answers
		control, err := OpenControl(cfg)
		if err != nil {
			t.Fatal(err)
		}
		l := control.listener.(*controlListener)
		l.SetUnlinkOnClose(false)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	file := stale + ".txt"
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                            "something else is there (choose another with --control-socket)",
		"/proc/wirespan-test/s":         "no such file or directory (choose another with --control-socket)",
		stale + strings.Repeat("x", 99): "invalid argument (choose another with --control-socket)",
	} {
		cfg.Path = path
		if _, err := OpenControl(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("OpenControl(%q) = %v, want %q", path, err, want)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("the file is now %q, %v", got, err)
	}
}

// Connections beyond the limit are turned away; the socket works on.
func TestControlConnectionLimit(t *testing.T) {
	c := serveControl(t, nil)
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("unix", c.path)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	idle := make([]net.Conn, controlConnections)
	for i := range idle {
		idle[i] = dial()
	}
	turnedAway := dial()
	if n, err := turnedAway.Read(make([]byte, 1)); err == nil {
		t.Errorf("one connection too many reads %d bytes", n)
	}
	_ = turnedAway.Close()
	for _, conn := range idle {
		_ = conn.Close()
	}
	for { // until the agent has seen that one of them is closed
		if resp, err := c.client.Get("http://wirespan/v1/health/live"); err == nil {
			_ = resp.Body.Close()
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the socket never answers again")
		}
	}
}

func TestControlGarbage(t *testing.T) {
	c := serveControl(t, nil)
	random := rand.New(rand.NewPCG(1, 2))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range 1000 {
		garbage := make([]byte, 1+random.IntN(512))
		for j := range garbage {
			garbage[j] = byte(random.Uint32())
		}
		if i%2 == 0 {
			garbage = append([]byte("POST /v1/"), append(garbage, " HTTP/1.1\r\n\r\n"...)...)
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			conn, err := net.Dial("unix", c.path)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Write(garbage) // may be cut off
			_ = conn.Close()
		})
	}
	wg.Wait()
	for { // slots are freed as the agent notices
		if resp, err := c.client.Get("http://wirespan/v1/health/live"); err == nil {
			_ = resp.Body.Close()
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the socket never answers again")
		}
	}
	if running, deleted := c.registry().state(); !running || deleted != 0 {
		t.Errorf("garbage made the agent leave: running %v, deleted %d times", running, deleted)
	}
}
