package rig

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilled kills a benchmark with SIGKILL at several moments of its first run.
// Nothing of it may remain.
func TestKilled(t *testing.T) {
	needRoot(t)
	c := Config{Options: short(), Subjects: []string{subjectTUN, subjectNetstack, subjectRaw}, Self: self(t)}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	before := traces(t, "")
	for i := range 3 {
		mark := "WIRESPAN_BENCH_TEST=" + filepath.Base(t.TempDir()) + strings.Repeat("x", i)
		// In these steps the network is created, the subject's process starts and
		// load flows.
		steps := 1 + rand.IntN(6)
		t.Logf("killed at step %d", steps)
		cmd := exec.Command(c.Self[0], "caller")
		cmd.Env = append(os.Environ(), mark)
		cmd.Stdin = bytes.NewReader(config)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range steps {
			if !lines.Scan() {
				t.Fatal("the benchmark ended by itself")
			}
		}
		if len(marked(t, mark)) == 0 {
			t.Error("no process has the mark: the test would see nothing")
		}
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		deadline := time.Now().Add(10 * time.Second)
		after := traces(t, mark)
		for !slices.Equal(after, before) && time.Now().Before(deadline) {
			after = traces(t, mark)
		}
		if !slices.Equal(after, before) {
			t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
}

// traces lists what a benchmark may leave on the host: links, files, mounts and
// marked processes.
func traces(t *testing.T, mark string) []string {
	t.Helper()
	var out []string
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name == underlay || strings.HasPrefix(l.Name, "bench-") {
			out = append(out, "link "+l.Name)
		}
	}
	for _, pattern := range []string{"/run/wirespan-bench*", upstreamSockets + "/bench-*"} {
		files, _ := filepath.Glob(pattern) // only a malformed pattern fails
		out = append(out, files...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[1] == "/run" || f[1] == "/var/run" || f[1] == "/proc" {
			out = append(out, line)
		}
	}
	if mark != "" {
		out = append(out, marked(t, mark)...)
	}
	return out
}

// marked lists the processes whose environment has the mark.
func marked(t *testing.T, mark string) []string {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // only a malformed pattern fails
	var out []string
	for _, f := range files {
		env, err := os.ReadFile(f)
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), mark) {
			out = append(out, f)
		}
	}
	return out
}
