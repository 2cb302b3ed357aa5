package bench

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
)

// WriteTable writes the report for a terminal: facts, every figure, a summary of
// medians, what did not run, warnings and notes.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	for _, fact := range r.facts() {
		fmt.Fprintf(&b, "%-10s %s\n", fact[0], fact[1])
	}
	figures := r.figures()
	if len(figures) == 0 {
		b.WriteString("\nNothing was measured.\n")
	} else {
		r.writeFigures(&b, figures)
		r.writeSummary(&b, figures)
	}
	writeList(&b, "Did not run, or not to the end", r.problems())
	writeList(&b, "Warnings", r.warnings())
	writeList(&b, "Notes", r.Notes)
	_, err := io.WriteString(w, b.String())
	return err
}

// facts returns what the figures depend on, as pairs of label and text.
func (r *Report) facts() [][2]string {
	m := r.Machine
	machine := join(m.CPUModel, count(m.Cores, "core"), m.Architecture, prefixed("kernel ", m.Kernel), prefixed("on ", m.Virtual), prefixed("governor ", m.Governor))
	out := [][2]string{
		{"benchmark", join(r.Kind, r.span())},
		{"machine", machine},
		{"build", join(prefixed("wirespan ", m.Version), m.GoVersion, prefixed("AEAD code: ", m.CryptoPath))},
		{"TCP", r.congestion()},
		{"options", join(count(r.Options.Runs, "repetition"), r.Options.conditions())},
		{"offloads", m.offloads()},
	}
	if r.Base != "" {
		out = append(out, [2]string{"ratios", "to " + r.Base + " in the same repetition: geometric mean, and Student's t 95 % interval of the logarithms"})
	}
	if len(r.Command) > 0 {
		out = append(out, [2]string{"command", strings.Join(r.Command, " ")})
	}
	kept := out[:0]
	for _, f := range out {
		if f[1] != "" {
			kept = append(kept, [2]string{f[0], clean(f[1])})
		}
	}
	return kept
}

func (r *Report) span() string {
	if r.Started.IsZero() {
		return ""
	}
	s := r.Started.UTC().Format("2006-01-02 15:04:05 UTC")
	if r.Finished.IsZero() {
		return s + ", interrupted: what was measured so far"
	}
	return s + ", took " + r.Finished.Sub(r.Started).Round(time.Second).String()
}

// congestion names the TCP congestion control in use, which affects results more
// than most tuning does.
func (r *Report) congestion() string {
	used, system := r.Options.Congestion, r.Machine.TCPCongestion
	switch {
	case r.Kind == KindCrypto, used == "" && system == "":
		return ""
	case used == "" || used == system:
		return "congestion control " + system
	case system == "":
		return "congestion control " + used
	}
	return "congestion control " + used + " (the system's default is " + system + ")"
}

// conditions describes the options except the number of repetitions.
func (o Options) conditions() string {
	var parts []string
	if o.Duration > 0 {
		parts = append(parts, o.Duration.String()+" each")
	}
	if len(o.Streams) > 0 {
		parts = append(parts, "streams "+numbers(o.Streams))
	}
	if len(o.Payloads) > 0 {
		parts = append(parts, "payloads "+numbers(o.Payloads))
	}
	if o.MTU > 0 {
		parts = append(parts, fmt.Sprintf("tunnel MTU %d", o.MTU))
	}
	if o.UnderlayMTU > 0 {
		parts = append(parts, fmt.Sprintf("underlay MTU %d", o.UnderlayMTU))
	}
	if o.RTT > 0 {
		parts = append(parts, "added RTT "+o.RTT.String())
	}
	if o.Loss > 0 {
		parts = append(parts, fmt.Sprintf("added loss %s %%", significant(100*o.Loss)))
	}
	if o.GOMAXPROCS > 0 {
		parts = append(parts, fmt.Sprintf("GOMAXPROCS %d", o.GOMAXPROCS))
	}
	return join(parts...)
}

func (m Machine) offloads() string {
	names := make([]string, 0, len(m.Offloads))
	for name := range m.Offloads {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		state := " off"
		if m.Offloads[name] {
			state = " on"
		}
		names[i] = name + state
	}
	return join(names...)
}

// writeFigures lists every figure, by group.
func (r *Report) writeFigures(b *strings.Builder, figures []Figure) {
	for len(figures) > 0 {
		n := span(figures, func(a, z Figure) bool { return a.Metric.Group == z.Metric.Group })
		lower := allLower(figures[:n])
		fmt.Fprintf(b, "\n%s%s\n", figures[0].Metric.Group, map[bool]string{true: ", lower is better"}[lower])
		g := grid{}
		g.add("", "", rightMark+"median", "", rightMark+"min–max", rightMark+"ratio", rightMark+"95 %", "")
		for group := figures[:n]; len(group) > 0; {
			m := span(group, sameMetric)
			title := clean(group[0].Metric.Title)
			if !lower {
				title = group[0].Metric.heading()
			}
			r.addMetric(&g, title, group[:m])
			group = group[m:]
		}
		g.write(b, "  ")
		figures = figures[n:]
	}
}

// addMetric adds one line per subject.
func (r *Report) addMetric(g *grid, title string, figures []Figure) {
	scale := scaleOf(figures)
	for _, f := range figures {
		ratio, interval := "", ""
		switch {
		case f.Subject == r.Base:
			ratio = "base"
		case f.Ratio != nil:
			ratio, interval = f.Ratio.String(), f.Ratio.Interval()
		}
		g.add(title, clean(f.Subject), scale.format(f.Median), scale.unit, scale.format(f.Min)+"–"+scale.format(f.Max), ratio, interval, f.verdict())
		title = ""
	}
}

// writeSummary writes the matrix of medians, one row per metric.
func (r *Report) writeSummary(b *strings.Builder, figures []Figure) {
	subjects := r.measured(figures)
	fmt.Fprintf(b, "\nSummary of medians\n")
	g := grid{}
	head := []string{""}
	for _, s := range subjects {
		head = append(head, rightMark+clean(s))
	}
	g.add(append(head, "")...)
	for len(figures) > 0 {
		n := span(figures, sameMetric)
		scale := scaleOf(figures[:n])
		m := figures[0].Metric
		row := []string{m.Group + ": " + clean(m.Title)}
		for _, s := range subjects {
			text := "–"
			for _, f := range figures[:n] {
				if f.Subject == s {
					text = scale.format(f.Median)
				}
			}
			row = append(row, text)
		}
		g.add(append(row, scale.unit)...)
		figures = figures[n:]
	}
	g.write(b, "  ")
}

// problems lists the subjects that did not run and the runs that ended early.
func (r *Report) problems() []string {
	var out []string
	for _, s := range r.Subjects {
		if s.Skipped != "" {
			out = append(out, s.Name+": skipped: "+s.Skipped)
		}
		if s.Failed != "" {
			out = append(out, s.Name+": failed: "+s.Failed)
		}
	}
	for _, run := range r.Runs {
		if run.Error != "" {
			out = append(out, fmt.Sprintf("%s, repetition %d: %s", run.Subject, run.Index+1, run.Error))
		}
	}
	return out
}

func writeList(b *strings.Builder, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, item := range items {
		fmt.Fprintf(b, "  %s\n", clean(item))
	}
}
