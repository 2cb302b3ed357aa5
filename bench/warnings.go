package bench

import (
	"fmt"
	"sort"
	"strings"
)

// Beyond these limits figures are uncertain.
const (
	busyLimit   = 0.10 // share of all cores that is busy before a run
	stealLimit  = 0.02 // share of all cores that the hypervisor takes
	spreadLimit = 1.3  // largest value divided by smallest
)

// warnings lists what makes the figures uncertain, one sentence each.
func (r *Report) warnings() []string {
	var out []string
	busy := r.noisy(busyLimit, func(run Run) float64 { return run.Busy })
	if busy != "" {
		out = append(out, "The machine was busy before "+busy+": other programs ran beside the benchmark.")
	}
	steal := r.noisy(stealLimit, func(run Run) float64 { return run.Steal })
	if steal != "" {
		out = append(out, "The hypervisor took processor time (steal) around "+steal+".")
	}
	switch g := r.Machine.Governor; g {
	case "", "performance", "schedutil":
	default:
		out = append(out, fmt.Sprintf("The CPU governor is %s: clock rates may change during a run.", clean(g)))
	}
	figures := r.figures()
	for _, s := range r.Subjects {
		if w := spread(s.Name, figures); w != "" {
			out = append(out, w)
		}
	}
	if r.Options.Runs > 0 && r.Options.Runs < 3 {
		out = append(out, fmt.Sprintf("Only %s: too few to know the spread. Use three or more.", count(r.Options.Runs, "repetition")))
	}
	return out
}

// noisy describes how many runs had a share above the limit, and the highest
// share. It returns "" if none had.
func (r *Report) noisy(limit float64, share func(Run) float64) string {
	n, worst := 0, 0.0
	for _, run := range r.Runs {
		if s := share(run); s > limit {
			n++
			worst = max(worst, s)
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %s (up to %.0f %%, limit %.0f %%)", n, count(len(r.Runs), "run"), 100*worst, 100*limit)
}

// spread describes how many figures of a subject vary too much between
// repetitions. It returns "" if none does.
func spread(subject string, figures []Figure) string {
	total := 0
	var wide []Figure
	for _, f := range figures {
		if f.Subject != subject || len(f.Values) < 2 || f.Metric.Unit == unitCount || f.Min <= 0 {
			continue
		}
		total++
		if f.Max/f.Min > spreadLimit {
			wide = append(wide, f)
		}
	}
	if len(wide) == 0 {
		return ""
	}
	sort.SliceStable(wide, func(i, j int) bool { return wide[i].Max/wide[i].Min > wide[j].Max/wide[j].Min })
	var worst []string
	for _, f := range wide[:min(2, len(wide))] {
		worst = append(worst, clean(f.Metric.ID)+" "+significant(f.Max/f.Min)+"×")
	}
	return fmt.Sprintf("%s: %d of %s spread by more than %.1f× between repetitions (widest: %s).",
		clean(subject), len(wide), count(total, "figure"), spreadLimit, strings.Join(worst, ", "))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
