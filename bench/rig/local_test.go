package rig

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/bench"
)

// short returns options of a benchmark that takes little time.
func short() bench.Options {
	o := DefaultOptions()
	o.Runs, o.Duration, o.Streams, o.Payloads = 1, minDuration, []int{2}, []int{64, 0}
	return o
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
}

// unavailable are metrics that a subject doesn't have.
var unavailable = map[string][]string{
	subjectNetstack:    {"tcp.retransmits"},
	subjectUpstreamNet: {"tcp.retransmits"},
	subjectSOCKS:       {"udp.pps.mtu"},
	subjectHTTP:        {"udp.pps.mtu"},
}

// complete checks that a report has all values, and that it can be read back.
func complete(t *testing.T, r *bench.Report, c *Config) {
	t.Helper()
	var buf bytes.Buffer
	if err := bench.Encode(&buf, r); err != nil {
		t.Fatal(err)
	}
	if _, err := bench.Decode(&buf, "report"); err != nil {
		t.Fatal(err)
	}
	if len(r.Runs) != len(c.Subjects)*c.Options.Runs {
		t.Errorf("%d runs of %d subjects", len(r.Runs), len(c.Subjects))
	}
	for i, run := range r.Runs {
		if want := c.Subjects[i%len(c.Subjects)]; run.Subject != want || run.Index != i/len(c.Subjects) {
			t.Errorf("run %d is repetition %d of %s, not interleaved", i, run.Index, run.Subject)
		}
		for _, id := range allIDs(&c.Options) {
			if !selected(&c.Options, id) {
				continue
			}
			v, ok := run.Values[id]
			if known := !slices.Contains(unavailable[run.Subject], id); ok != known || v < 0 {
				t.Errorf("%s: %s = %g, measured: %t, want %t", run.Subject, id, v, ok, known)
			}
		}
		if run.Error != "" {
			t.Errorf("%s: %s", run.Subject, run.Error)
		}
	}
	if r.Finished.IsZero() || r.Base == "" {
		t.Errorf("finished %s, base %q", r.Finished, r.Base)
	}
}

func TestLocal(t *testing.T) {
	needRoot(t)
	c := Config{Options: short(), Subjects: []string{subjectRaw, subjectTUN, subjectNetstack}, Self: self(t), Version: "test"}
	c.Options.MTU = 1300
	var seen []Progress
	r, err := Local(t.Context(), c, func(p Progress) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	complete(t, r, &c)
	if len(r.Machine.Offloads) == 0 {
		t.Error("no offloads of the link")
	}
	for _, s := range r.Subjects {
		if want := map[string]int{subjectRaw: 1500}[s.Name]; s.TunnelMTU != max(want, 1300) {
			t.Errorf("%s: MTU %d", s.Name, s.TunnelMTU)
		}
	}
	if last := seen[len(seen)-1]; last.Run != 1 || last.What != "" || last.Error != "" {
		t.Errorf("last progress: %+v", last)
	}
}

func TestUnprivileged(t *testing.T) {
	c := Config{
		Options: short(), Subjects: []string{subjectRaw, subjectNetstack, subjectUpstreamNet},
		Self: self(t), Unprivileged: true,
	}
	c.Options.Runs, c.Options.Metrics = 2, []string{"tcp.both", "rtt.idle", "udp.pps.mtu", "rss", "mtu"}
	r, err := Local(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	complete(t, r, &c)
}

// TestPrograms: the ways of programs into a netstack, which run only when named.
func TestPrograms(t *testing.T) {
	c := Config{Options: short(), Subjects: []string{subjectSOCKS, subjectHTTP, subjectForward}, Self: self(t), Unprivileged: true}
	c.Options.Metrics = []string{"tcp.both", "rtt.idle", "udp.pps.mtu", "rss"}
	r, err := Local(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	complete(t, r, &c)
	c.Subjects = nil
	all, err := choose(&c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == subjectSOCKS || s.Name == subjectHTTP || s.Name == subjectForward {
			t.Errorf("%s runs without being named", s.Name)
		}
	}
}

// TestSubjectDies: a subject dies midway. The error names it, and the others still
// run.
func TestSubjectDies(t *testing.T) {
	needRoot(t)
	file := filepath.Join(t.TempDir(), "dies.yaml")
	err := os.WriteFile(file, []byte(`
name: dies
start: [sh, -c, "sleep 0.4; echo out of luck; exit 7"]
address: [echo, "${UNDERLAY_SELF}"]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	o := short()
	o.Duration, o.Runs, o.Metrics = 300*time.Millisecond, 2, []string{"tcp.up", "rtt.idle"}
	c := Config{Options: o, Subjects: []string{"dies", subjectRaw}, Drivers: []string{file}, Self: self(t)}
	r, err := Local(t.Context(), c, nil)
	if err == nil || !strings.Contains(err.Error(), "dies: ") || !strings.Contains(err.Error(), "exit status 7: out of luck") {
		t.Errorf("error %v", err)
	}
	var runs []string
	for _, run := range r.Runs {
		runs = append(runs, run.Subject)
	}
	if got := strings.Join(runs, " "); got != "dies raw raw" {
		t.Errorf("runs: %s", got)
	}
	if r.Subjects[0].Failed == "" || r.Runs[0].Error == "" || r.Subjects[1].Failed != "" {
		t.Errorf("subjects %+v", r.Subjects)
	}
}

// TestInterrupted: a cancelled benchmark returns what was measured.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := Config{Options: short(), Subjects: []string{subjectRaw}, Self: self(t), Unprivileged: os.Geteuid() != 0}
	c.Options.Runs = 100
	r, err := Local(ctx, c, func(p Progress) {
		if p.Run == 2 && p.What == "tcp.up.2" {
			cancel()
		}
	})
	if !errors.Is(err, errInterrupted) || r == nil {
		t.Fatalf("error %v", err)
	}
	if n := len(r.Runs); n != 2 || r.Runs[0].Error != "" || r.Runs[1].Error == "" || r.Runs[1].Values["rtt.idle.p50"] == 0 {
		t.Errorf("%d runs: %+v", n, r.Runs)
	}
	if !r.Finished.IsZero() {
		t.Error("an interrupted report is finished")
	}
}

// TestImpossible: delay and loss fail with a clear error where they can't work.
func TestImpossible(t *testing.T) {
	c := Config{Options: short(), Unprivileged: true, Self: self(t)}
	c.Options.RTT = time.Millisecond
	if _, err := Local(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "--unprivileged") {
		t.Errorf("delay on loopback: %v", err)
	}
	needRoot(t)
	c.Unprivileged, c.Subjects, c.Options.Metrics = false, []string{subjectRaw}, []string{"rtt.idle"}
	r, err := Local(t.Context(), c, nil)
	switch {
	case err == nil: // with netem: half of the delay at each end
		if got := r.Runs[0].Values["rtt.idle.p50"]; got < c.Options.RTT.Seconds() {
			t.Errorf("round trip %g s with a delay of %s", got, c.Options.RTT)
		}
	case !strings.Contains(err.Error(), "no netem"):
		t.Errorf("error %v", err)
	}
}

// TestChildAlone: the child's roles refuse to run without the benchmark.
func TestChildAlone(t *testing.T) {
	for _, role := range []string{roleEngine, roleAgent, roleDevice} {
		argv := append(self(t), role)
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "only for the benchmark itself") {
			t.Errorf("%s: %v: %s", role, err, out)
		}
	}
}
