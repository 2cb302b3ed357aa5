package standalone

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestInheritedFD(t *testing.T) {
	for _, value := range []string{"x", "-1", "2", "99999999999", "1000000", "3 "} {
		t.Setenv(EnvTUN, value)
		if f, err := inheritedFD(EnvTUN); err == nil || !strings.Contains(err.Error(), EnvTUN) {
			t.Errorf("%q: %v, %v", value, f, err)
		}
	}
	t.Setenv(EnvTUN, "")
	if f, err := inheritedFD(EnvTUN); f != nil || err != nil {
		t.Errorf("none: %v, %v", f, err)
	}
}

// The daemon is a shell script. Its report goes to descriptor 3, its first one
// beside the standard streams.
func TestStartDaemon(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		limit  time.Duration
		want   string
	}{
		"ready":                   {"printf ready >&3", time.Minute, ""},
		"ready, later":            {"printf rea >&3; printf dy >&3", time.Minute, ""},
		"an error":                {"echo it is broken >&3; exit 1", time.Minute, "it is broken"},
		"an end without a report": {"exit 1", time.Minute, "the daemon ended before it was ready"},
		"a hang":                  {"exec sleep 1000", time.Millisecond, "the daemon was not ready within 1ms"},
		"a torrent":               {"yes >&3 2>/dev/null", time.Minute, strings.TrimSpace(strings.Repeat("y\n", maxReport/2))},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", tc.script)
			err := startDaemon(cmd, tc.limit)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || err.Error() != tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if !slices.Contains(cmd.Env, envReady+"=3") {
				t.Errorf("environment %q", cmd.Env)
			}
			if tc.want != "" && cmd.ProcessState == nil {
				t.Error("it was not waited for")
			}
		})
	}
	if err := startDaemon(exec.Command("/nonexistent"), time.Minute); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestReportToTheParent(t *testing.T) {
	broken := errors.New("broken")
	none := &waiter{}
	if err := none.ready(); err != nil {
		t.Error(err)
	}
	var reported ReportedError
	if err := none.report(broken); !errors.Is(err, broken) || errors.As(err, &reported) {
		t.Errorf("no process waits: %v", err)
	}
	pipe := func() (*os.File, *waiter) {
		wait, ready, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = wait.Close(), ready.Close() })
		return wait, &waiter{ready}
	}
	wait, w := pipe()
	if err := w.ready(); err != nil {
		t.Error(err)
	}
	if err := awaitReady(wait, time.Minute); err != nil {
		t.Error(err)
	}
	if err := w.report(broken); !errors.Is(err, broken) || errors.As(err, &reported) {
		t.Errorf("after it was ready: %v", err)
	}
	wait, w = pipe()
	if err := w.report(fmt.Errorf("it is %w", broken)); !errors.As(err, &reported) {
		t.Errorf("an error that the parent shows: %v", err)
	}
	if err := awaitReady(wait, time.Minute); err == nil || err.Error() != "it is broken" {
		t.Errorf("the parent hears %v", err)
	}
	wait, w = pipe()
	_ = wait.Close()
	if err := w.ready(); err == nil {
		t.Error("the parent has ended, and that is no error")
	}
}

func TestUntilRemoved(t *testing.T) {
	for name, remove := range map[string]func(path string) error{
		"removed": os.Remove,
		"renamed": func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", []byte("another's"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s := &socket{l, path}
			ctx, stop, err := s.untilRemoved(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			// A change of attributes does not end it.
			if err := os.Chmod(path, 0o700); err != nil || ctx.Err() != nil {
				t.Fatal(err, ctx.Err())
			}
			if err := remove(path); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			stop()
			_ = l.Close()
			if _, err := os.Lstat(path); (err == nil) != (name == "replaced") {
				t.Errorf("another's file after Close: %v", err)
			}
		})
	}
	t.Run("stopped", func(t *testing.T) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
		if err != nil {
			t.Fatal(err)
		}
		s := &socket{l, l.Addr().String()}
		ctx, stop, err := s.untilRemoved(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stop()
		if ctx.Err() == nil {
			t.Error("the context goes on")
		}
		_ = l.Close()
		if _, _, err := s.untilRemoved(t.Context()); err == nil {
			t.Error("watched a socket that is not there")
		}
	})
}

func TestInheritedListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	s, err := inheritedListener(f)
	if err != nil || s.Addr().String() != path {
		t.Fatalf("%v, %v", s, err)
	}
	_ = s.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket's file is left")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if s, err := inheritedListener(r); err == nil || !strings.Contains(err.Error(), EnvUAPI) {
		t.Errorf("a pipe: %v, %v", s, err)
	}
}
