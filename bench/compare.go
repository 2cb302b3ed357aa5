package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Comparison is what changed between two reports.
type Comparison struct {
	FailBelow float64 // 0: nothing fails
	Changes   []Change
	Missing   []string // measured before, not now
	Notes     []string // why the two may not be comparable
}

// Change is one subject and metric before and after.
type Change struct {
	Before, After Figure
	// Ratio is after by before; nil if a value is zero.
	Ratio *Estimate
	// Relative is the same for the ratios to the base subject, which cancels
	// what the machine itself gained or lost between the reports. It is nil for
	// the base, and unless both reports have the same version of the same base.
	Relative *Estimate
}

// Best is the estimate to judge by: Relative where there is one. Nil if neither is.
func (c Change) Best() *Estimate {
	if c.Relative != nil {
		return c.Relative
	}
	return c.Ratio
}

// Failed reports whether the change is a loss past the limit: the improvement
// is under failBelow, and the interval excludes that nothing changed. With
// single runs, which have no interval, the improvement alone decides.
func (c Change) Failed(failBelow float64) bool {
	e := c.Best()
	better := c.After.Metric.Better
	if e == nil || better == 0 || e.Improvement(better).Value >= failBelow {
		return false
	}
	return !e.Bounded() || e.Verdict(better) < 0
}

// Compare matches subjects and metrics of report a, before, with those of b,
// after. Intervals are Welch's, on logarithms: the two sets of runs are
// independent.
func Compare(a, b *Report, failBelow float64) Comparison {
	c := Comparison{FailBelow: failBelow, Notes: differences(a, b)}
	relative := sameBase(a, b)
	if a.Base != "" && b.Base != "" && !relative {
		c.Notes = append(c.Notes, "the base subjects differ: only plain ratios are shown, and the machine's own drift is in them")
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
		change := Change{Before: before, After: now, Ratio: difference(logs(before.Values), logs(now.Values))}
		if relative {
			change.Relative = difference(logs(before.Ratios), logs(now.Ratios))
		}
		c.Changes = append(c.Changes, change)
	}
	return c
}

// Failures says what is past the limit, a line each.
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

// WriteTable writes the changes for a terminal, failures last.
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

// logs are the logarithms, or none if a value has none.
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

// sameBase reports whether both reports refer to the same version of one base.
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

// reason says why a subject has no figures, in brackets.
func (r *Report) reason(name string) string {
	s := r.subject(name)
	if why := join(prefixed("skipped: ", s.Skipped), prefixed("failed: ", s.Failed)); why != "" {
		return " (" + why + ")"
	}
	return ""
}

// differences lists the conditions that are not the same in both reports.
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
