package control

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/unixsocket"
)

func TestControlSocketInUse(t *testing.T) {
	c := serveControl(t, nil)
	want := fs.FileMode(0o600)
	if _, err := user.LookupGroup(group); err == nil {
		want = 0o660
	}
	if info, err := os.Stat(c.path); err != nil || info.Mode().Perm() != want {
		t.Errorf("mode %v, %v; want %v", info.Mode(), err, want)
	}
	cfg := Config{Path: c.path, Agent: c.agent, Log: hclog.NewNullLogger()}
	if _, err := Open(cfg); !errors.Is(err, unixsocket.ErrInUse) {
		t.Errorf("OpenControl on a live socket = %v", err)
	}
	c.want("GET", "/v1/health/live", 200, "ok")

	stale := filepath.Join(t.TempDir(), "below", "s")
	cfg.Path = stale
	for range 2 { // the second time it is there, and nobody answers
		control, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		l := control.listener.(*listener)
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
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
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
	idle := make([]net.Conn, maxConnections)
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

// Whoever may only read can't lock an owner out, nor one user the others.
func TestControlSlots(t *testing.T) {
	s := slots{byUID: map[uint32]int{}}
	take := func(want int, uid uint32, owner bool) {
		t.Helper()
		got := 0
		for s.take(uid, owner) {
			got++
		}
		if got != want {
			t.Errorf("uid %d got %d slots, want %d", uid, got, want)
		}
	}
	take(16, 1001, false)
	take(16, 1002, false)
	take(16, 1003, false)
	take(0, 1004, false)
	take(16, 0, true)
	s.release(0, true)
	take(0, 1004, false)
	take(1, 0, true)
	for range 16 {
		s.release(1002, false)
	}
	take(0, 1001, false)
	take(16, 0, true)
	if len(s.byUID) != 2 || s.others != 32 || s.all != maxConnections {
		t.Errorf("slots %v, %d of others, %d in all", s.byUID, s.others, s.all)
	}
}

// Nobody else may be able to put a socket of theirs in the place of ours.
func TestControlDirectory(t *testing.T) {
	own := uint32(os.Geteuid())
	for _, tc := range []struct {
		mode fs.FileMode
		uid  uint32
		want string
	}{
		{0o755, own, ""},
		{0o700, 0, ""},
		{0o777 | fs.ModeSticky, 0, ""},
		{0o775, own, "writable by others (mode 0775)"},
		{0o702, 0, "writable by others (mode 0702)"},
		{0o700, own + 1, "belongs to another user"},
		{0o777 | fs.ModeSticky, own + 1, "belongs to another user"},
	} {
		err := checkDirectory("/run/x", tc.mode, tc.uid)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("mode %v of uid %d: %v, want %q", tc.mode, tc.uid, err, tc.want)
		}
	}
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Path: filepath.Join(dir, "s")}); err == nil || !strings.Contains(err.Error(), "chmod go-w it") {
		t.Errorf("OpenControl in a directory of mode 0777 = %v", err)
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
	if running, deleted := c.found().State(); !running || deleted != 0 {
		t.Errorf("garbage made the agent leave: running %v, deleted %d times", running, deleted)
	}
}
