package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Comparison holds what changed between two reports.
type Comparison struct {
	FailBelow float64 // improvements below it fail; 0: no limit
	Changes   []Change
	Missing   []string // figures that only the first report has
	Notes     []string // why the reports may not be comparable
}

// Change is one subject and metric before and after.
type Change struct {
	Before, After Figure
	// Ratio is after divided by before; nil if a value is zero.
	Ratio *Estimate
	// Relative compares the ratios to the base subject instead of the values,
	// which cancels what the machine gained or lost between the reports. It is
	// nil for the base itself, and unless both reports have the same version of
	// the same base.
	Relative *Estimate
}

// Best returns the estimate to judge by: Relative if there is one, else Ratio,
// which may be nil.
func (c Change) Best() *Estimate {
	if c.Relative != nil {
		return c.Relative
	}
	return c.Ratio
}

// Failed reports whether the change is a loss beyond the limit: the improvement
// is below failBelow, and the interval excludes 1. Single runs have no interval;
// then the improvement alone decides.
func (c Change) Failed(failBelow float64) bool {
	e := c.Best()
	better := c.After.Metric.Better
	if e == nil || better == 0 || e.Improvement(better).Value >= failBelow {
		return false
	}
	return !e.Bounded() || e.Verdict(better) < 0
}

// Compare matches subjects and metrics of report a (before) with those of b
// (after). Intervals are Welch's on logarithms, since the two sets of runs are
// independent.
func Compare(a, b *Report, failBelow float64) Comparison {
	c := Comparison{FailBelow: failBelow, Notes: differences(a, b)}
	relative := sameBase(a, b)
	if a.Base != "" && b.Base != "" && !relative {
		c.Notes = append(c.Notes, "the base subjects differ: ratios relative to the base are not shown, and plain ratios include the machine's own drift")
	}
	after := map[cell]Figure{}
	for _, f := range b.figures() {
		after[cell{f.Subject, f.Metric.ID}] = f
	}
	for _, before := range a.figures() {
		now, ok := after[cell{before.Subject, before.Metric.ID}]
		if !ok {
			c.Missing = append(c.Missing, clean(before.Subject+": "+before.Metric.ID+b.reason(before.Subject)))
			continue
		}
		change := Change{Before: before, After: now, Ratio: welchEstimate(logs(before.Values), logs(now.Values))}
		if relative {
			change.Relative = welchEstimate(logs(before.Ratios), logs(now.Ratios))
		}
		c.Changes = append(c.Changes, change)
	}
	return c
}

// Failures describes each failed change and each missing figure in one line. It
// returns nil if there is no limit.
func (c Comparison) Failures() []string {
	if c.FailBelow <= 0 {
		return nil
	}
	var out []string
	for _, ch := range c.Changes {
		if ch.Failed(c.FailBelow) {
			e := ch.Best().Improvement(ch.After.Metric.Better)
			out = append(out, fmt.Sprintf("%s: %s: improvement %s [%s], limit %s", clean(ch.After.Subject), clean(ch.After.Metric.ID), e, e.Interval(), ratio(c.FailBelow)))
		}
	}
	for _, m := range c.Missing {
		out = append(out, m+": no longer measured")
	}
	return out
}

// WriteTable writes the changes for a terminal; failures come last.
func (c Comparison) WriteTable(w io.Writer) error {
	var b strings.Builder
	g := grid{}
	g.add("", "subject", rightMark+"before", rightMark+"after", "", rightMark+"after/before", rightMark+"95 %", rightMark+"relative to base", rightMark+"95 %", "")
	last := ""
	for _, ch := range c.Changes {
		m := ch.After.Metric
		scale := scaleOf([]Figure{ch.Before, ch.After})
		title := ""
		if m.ID != last {
			title, last = m.Group+": "+m.heading(), m.ID
		}
		row := []string{title, clean(ch.After.Subject), scale.format(ch.Before.Median), scale.format(ch.After.Median), scale.unit}
		row = append(row, estimateCells(ch.Ratio)...)
		row = append(row, estimateCells(ch.Relative)...)
		word := ""
		if e := ch.Best(); e != nil {
			word = verdictWord(e.Verdict(m.Better))
		}
		g.add(append(row, word)...)
	}
	if len(c.Changes) == 0 {
		b.WriteString("The reports have no figure in common.\n")
	} else {
		g.write(&b, "")
	}
	writeList(&b, "Measured before, not now", c.Missing)
	writeList(&b, "Notes", c.Notes)
	if c.FailBelow > 0 {
		writeList(&b, "Failed", c.Failures())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func estimateCells(e *Estimate) []string {
	if e == nil {
		return []string{"", ""}
	}
	return []string{e.String(), e.Interval()}
}

// logs returns the logarithms of values, or nil if one of them is not positive.
func logs(values []float64) []float64 {
	out := make([]float64, 0, len(values))
	for _, v := range values {
		if v <= 0 {
			return nil
		}
		out = append(out, math.Log(v))
	}
	return out
}

// sameBase reports whether both reports have the same version of the same base.
func sameBase(a, b *Report) bool {
	sa, sb := a.subject(a.Base), b.subject(b.Base)
	return a.Base != "" && a.Base == b.Base && sa.Version == sb.Version
}

func (r *Report) subject(name string) Subject {
	for _, s := range r.Subjects {
		if s.Name == name {
			return s
		}
	}
	return Subject{}
}

// reason returns why a subject has no figures, in parentheses, or "".
func (r *Report) reason(name string) string {
	s := r.subject(name)
	if why := join(prefixed("skipped: ", s.Skipped), prefixed("failed: ", s.Failed)); why != "" {
		return " (" + why + ")"
	}
	return ""
}

// differences lists the conditions in which the reports differ.
func differences(a, b *Report) []string {
	var out []string
	for _, d := range []struct{ what, a, b string }{
		{"kind", a.Kind, b.Kind},
		{"CPU", a.Machine.CPUModel, b.Machine.CPUModel},
		{"cores", count(a.Machine.Cores, "core"), count(b.Machine.Cores, "core")},
		{"kernel", a.Machine.Kernel, b.Machine.Kernel},
		{"Go version", a.Machine.GoVersion, b.Machine.GoVersion},
		{"CPU governor", a.Machine.Governor, b.Machine.Governor},
		{"AEAD code", a.Machine.CryptoPath, b.Machine.CryptoPath},
		{"congestion control", a.congestion(), b.congestion()},
		{"offloads", a.Machine.offloads(), b.Machine.offloads()},
		{"options", a.Options.conditions(), b.Options.conditions()},
	} {
		if d.a != d.b {
			out = append(out, clean(fmt.Sprintf("%s differs: %s, then %s", d.what, orUnknown(d.a), orUnknown(d.b))))
		}
	}
	return out
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
