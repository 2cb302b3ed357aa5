package bench

import (
	"strings"
	"testing"
)

func comparisonOf(t *testing.T, c Comparison) string {
	t.Helper()
	var b strings.Builder
	if err := c.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// changed returns the sample report with the values of each run changed.
func changed(change func(r *Report, run Run)) *Report {
	r := sampleReport()
	for _, run := range r.Runs {
		if run.Values != nil {
			change(r, run)
		}
	}
	return r
}

func TestCompareTable(t *testing.T) {
	b := changed(func(_ *Report, run Run) {
		if run.Subject == "wirespan-tun" {
			run.Values["tcp.up.1"] *= 0.4
			run.Values["rtt.load.p99"] *= 0.3
			delete(run.Values, "udp.max")
		}
	})
	b.Machine.Kernel = "6.19.0"
	golden(t, "compare", comparisonOf(t, Compare(sampleReport(), b, 0.9)))
}

// A machine that is slower as a whole is no regression of the subjects.
func TestCompareCancelsDrift(t *testing.T) {
	slower := changed(func(_ *Report, run Run) { run.Values["tcp.up.1"] /= 3 })
	failed := map[string]bool{}
	for _, c := range Compare(sampleReport(), slower, 0.9).Changes {
		if c.Failed(0.9) {
			failed[c.After.Subject] = true
		}
		if c.After.Metric.ID == "tcp.up.1" && c.Ratio.Verdict(1) != -1 {
			t.Errorf("%s: the plain ratio %+v does not show the loss", c.After.Subject, c.Ratio)
		}
	}
	if len(failed) != 1 || !failed["wireguard-go"] {
		t.Errorf("failed: %v, want the base alone", failed)
	}
	slower.Subjects[1].Version = "v1"
	c := Compare(sampleReport(), slower, 0.9)
	if len(c.Failures()) != 4 || !strings.Contains(strings.Join(c.Notes, "\n"), "base subjects differ") {
		t.Errorf("another version of the base: %v, notes %v", c.Failures(), c.Notes)
	}
}

func TestChangeFailed(t *testing.T) {
	three := func(v, low, high float64) *Estimate { return &Estimate{v, low, high, 3} }
	for _, c := range []struct {
		name   string
		better int
		e      *Estimate
		want   bool
	}{
		{"slower, sure", 1, three(0.8, 0.7, 0.9), true},
		{"slower, unsure", 1, three(0.8, 0.6, 1.1), false},
		{"slower, within the limit", 1, three(0.97, 0.96, 0.98), false},
		{"faster", 1, three(1.5, 1.4, 1.6), false},
		{"dearer, sure", -1, three(1.5, 1.4, 1.6), true},
		{"cheaper", -1, three(0.5, 0.4, 0.6), false},
		{"neither way", 0, three(0.5, 0.4, 0.6), false},
		{"slower, single runs", 1, &Estimate{Value: 0.8, High: 9, Samples: 1}, true},
		{"no ratio", 1, nil, false},
	} {
		change := Change{After: Figure{Metric: Metric{Better: c.better}}, Ratio: c.e}
		if got := change.Failed(0.95); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		change.Relative, change.Ratio = change.Ratio, three(0.1, 0.1, 0.1)
		if got := change.Failed(0.95); c.e != nil && got != c.want {
			t.Errorf("%s, relative: %v", c.name, got)
		}
	}
}

func TestCompareMissing(t *testing.T) {
	b := sampleReport()
	var kept []Run
	for _, run := range b.Runs {
		if run.Subject != "wirespan-tun" {
			kept = append(kept, run)
		}
	}
	b.Runs, b.Subjects[2].Skipped = kept, "no /dev/net/tun"
	c := Compare(sampleReport(), b, 0.9)
	if want := len(sampleValues(1, 1)); len(c.Missing) != want || len(c.Failures()) != want {
		t.Fatalf("%d missing, %d failed, want %d: %v", len(c.Missing), len(c.Failures()), want, c.Failures())
	}
	if want := "wirespan-tun: tcp.up.1 (skipped: no /dev/net/tun)"; c.Missing[0] != want {
		t.Errorf("%q, want %q", c.Missing[0], want)
	}
	c.FailBelow = 0
	if c.Failures() != nil {
		t.Error("failures without a limit")
	}
	if got := comparisonOf(t, Compare(&Report{}, &Report{}, 0)); !strings.Contains(got, "no figure in common") {
		t.Error(got)
	}
}
