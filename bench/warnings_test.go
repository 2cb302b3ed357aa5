package bench

import (
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	quiet := func() *Report {
		r := pairs(map[string][]float64{"base": {1, 1.1, 1.05}, "x": {2, 2.1, 2.2}}, "tcp.up.1")
		r.Options.Runs = 3
		return r
	}
	for _, c := range []struct {
		name   string
		change func(*Report)
		want   string // part of the only warning; empty: no warning
	}{
		{"quiet", func(*Report) {}, ""},
		{"at the limits", func(r *Report) { r.Runs[0].Busy, r.Runs[0].Steal = busyLimit, stealLimit }, ""},
		{"busy", func(r *Report) { r.Runs[0].Busy, r.Runs[1].Busy = 0.2, 0.3 }, "busy before 2 of 6 runs (up to 30 %"},
		{"stolen", func(r *Report) { r.Runs[5].Steal = 0.05 }, "steal) around 1 of 6 runs (up to 5 %"},
		{"governor", func(r *Report) { r.Machine.Governor = "powersave" }, "governor is powersave"},
		{"good governor", func(r *Report) { r.Machine.Governor = "performance" }, ""},
		{"spread", func(r *Report) { r.Runs[0].Values["tcp.up.1"] = 0.5 }, "base: 1 of 1 figure spread by more than 1.3× between repetitions (widest: tcp.up.1 2.20×)"},
		{"few runs", func(r *Report) { r.Options.Runs = 2 }, "Only 2 repetitions"},
	} {
		r := quiet()
		c.change(r)
		got := r.warnings()
		if c.want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || c.want == "" || !strings.Contains(got[0], c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
