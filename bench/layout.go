package bench

import (
	"strconv"
	"strings"
)

// span returns the number of leading figures that are the same as the first.
func span(figures []Figure, same func(a, b Figure) bool) int {
	n := 1
	for n < len(figures) && same(figures[0], figures[n]) {
		n++
	}
	return n
}

func sameMetric(a, b Figure) bool { return a.Metric.ID == b.Metric.ID }

// scaleOf chooses the scale by the middle one of the medians that are not zero, so
// that one fast subject does not turn the others into small fractions.
func scaleOf(figures []Figure) displayScale {
	medians := make([]float64, 0, len(figures))
	for _, f := range figures {
		if f.Median > 0 {
			medians = append(medians, f.Median)
		}
	}
	return chooseScale(figures[0].Metric, median(medians))
}

// measured lists the subjects that have figures, in the report's order.
func (r *Report) measured(figures []Figure) []string {
	has := map[string]bool{}
	for _, f := range figures {
		has[f.Subject] = true
	}
	var out []string
	for _, s := range r.Subjects {
		if has[s.Name] {
			out = append(out, s.Name)
		}
	}
	return out
}

// heading returns the title, with a note if lower is better.
func (m Metric) heading() string {
	if m.Better < 0 {
		return clean(m.Title) + " (lower is better)"
	}
	return clean(m.Title)
}

// allLower reports whether lower is better for every figure.
func allLower(figures []Figure) bool {
	for _, f := range figures {
		if f.Metric.Better >= 0 {
			return false
		}
	}
	return true
}

// verdict returns "better" or "worse" if the interval shows it, else "".
func (f Figure) verdict() string {
	if f.Ratio == nil {
		return ""
	}
	return verdictWord(f.Ratio.Verdict(f.Metric.Better))
}

func verdictWord(verdict int) string {
	switch verdict {
	case 1:
		return "better"
	case -1:
		return "worse"
	}
	return ""
}

// join joins the parts that are not empty with commas.
func join(parts ...string) string {
	kept := parts[:0:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ", ")
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func numbers(ns []int) string {
	parts := make([]string, len(ns))
	for i, n := range ns {
		parts[i] = strconv.Itoa(n)
		if n == 0 { // a payload that fills the MTU
			parts[i] = "mtu"
		}
	}
	return strings.Join(parts, " ")
}
