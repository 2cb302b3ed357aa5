package static

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// parse reads one node id per word.
func parse(_ string, data []byte) (list []mesh.Affiliate, err error) {
	for word := range strings.FieldsSeq(string(data)) {
		if word == "bad" {
			return nil, errors.New("line 1: bad")
		}
		list = append(list, mesh.Affiliate{NodeID: word, Static: true})
	}
	return list, nil
}

// registry returns that of a file with a text.
func registry(t *testing.T, text string) (*Registry, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "peers.yaml")
	write(t, path, text)
	return New(Config{Path: path, MaxSize: 100, Parse: parse, Self: "self"}), path
}

// write replaces a file, as editors do.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

func ids(s discovery.Snapshot) string {
	var out []string
	for _, a := range s.Affiliates {
		out = append(out, a.NodeID)
	}
	return strings.Join(out, " ")
}

// The file is read before Run, and again when it has changed. One that can't be used leaves
// the peers as they were.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, path := registry(t, "a b self")
		start := time.Now()
		if s := r.Snapshot(); ids(s) != "a b" || !s.Connected || !s.Published || len(s.Problems) != 0 {
			t.Errorf("at first: %+v", s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		for _, step := range []struct {
			change  func()
			want    string
			problem string
		}{
			{func() { write(t, path, "b c") }, "b c", ""},
			{func() { write(t, path, "a bad") }, "b c", "peers file: line 1: bad"},
			{func() { _ = os.Remove(path) }, "b c", "no such file"},
			{func() { write(t, path, "d"); _ = os.Chmod(path, 0o622) }, "b c", "writable by others"},
			{func() { _ = os.Chmod(path, 0o644) }, "d", ""},
			{func() { write(t, path, "b c") }, "b c", ""},
			{func() { _ = os.Remove(path); _ = syscall.Mkfifo(path, 0o600) }, "b c", "not a file"},
			{func() { _ = os.Remove(path); write(t, path, "b c d") }, "b c d", ""},
			{func() { write(t, path, "") }, "", ""},
		} {
			step.change()
			time.Sleep(lookInterval + time.Second)
			s := r.Snapshot()
			got := ""
			if len(s.Problems) > 0 {
				got = s.Problems[0].Reason
			}
			if ids(s) != step.want || !s.Connected || (got == "") != (step.problem == "") || !strings.Contains(got, step.problem) {
				t.Errorf("%q with problem %q, want %q, %q", ids(s), got, step.want, step.problem)
			}
			select {
			case <-r.Changed():
			default:
				t.Errorf("%q was not signalled", step.want)
			}
			if step.want == "b c d" && (s.Heard[0].Since.Before(start) || !s.Heard[0].Since.Before(s.Heard[2].Since)) {
				t.Errorf("b and d since %v and %v", s.Heard[0].Since, s.Heard[2].Since)
			}
		}
		time.Sleep(time.Minute)
		select {
		case <-r.Changed():
			t.Error("an unchanged file is signalled")
		default:
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A file that can't be used from the start gives no peers, and nobody knows which there are.
func TestBadFromTheStart(t *testing.T) {
	r, path := registry(t, "bad")
	if s := r.Snapshot(); s.Connected || s.LastError == nil || len(s.Problems) != 1 || len(s.Affiliates) != 0 {
		t.Errorf("%+v", s)
	}
	write(t, path, "a")
	if s := r.Snapshot(); !r.look(time.Now()) || s.Connected {
		t.Errorf("the good one: %+v", s)
	}
	if s := r.Snapshot(); !s.Connected || s.LastError != nil || len(s.Problems) != 0 || ids(s) != "a" {
		t.Errorf("%+v", s)
	}
}

// A file that is being written is not read. At first there is nothing to lose.
func TestUnsettled(t *testing.T) {
	r, path := registry(t, "a b")
	at := time.Now().Add(time.Hour)
	write(t, path, "a")
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	if s := r.Snapshot(); r.look(at.Add(time.Second)) || ids(s) != "a b" {
		t.Errorf("a second later: %q", ids(s))
	}
	if !r.look(at.Add(settleTime)) || ids(r.Snapshot()) != "a" {
		t.Errorf("once settled: %q", ids(r.Snapshot()))
	}
}

// A file that can't be read is tried each time, and told once.
func TestUnreadableIsTriedAgain(t *testing.T) {
	r, path := registry(t, "a")
	if err := os.Chmod(path, 0o602); err != nil {
		t.Fatal(err)
	}
	bad := New(r.cfg)
	if bad.look(time.Now()) || bad.Snapshot().Connected {
		t.Error("the same problem is told twice")
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if !bad.look(time.Now()) || ids(bad.Snapshot()) != "a" {
		t.Errorf("once it can be read: %+v", bad.Snapshot())
	}
}
