package bench

import "math"

// Geometry of a ratio chart, in SVG units.
const (
	forestLeft  = 218.0
	forestRight = 400.0
	forestRow   = 18.0
)

// ratioCharts draws one panel per subject with its ratios to the base. Right of
// the line is better, also for metrics of which lower is better.
func (p *page) ratioCharts() {
	bySubject := map[string][]Figure{}
	drawn := false
	for _, f := range p.figures {
		if f.Ratio != nil && f.Metric.Better != 0 {
			bySubject[f.Subject] = append(bySubject[f.Subject], f)
			drawn = true
		}
	}
	if !drawn {
		return
	}
	p.put("<section>\n<h2>Compared with %s</h2>\n", p.report.Base)
	p.put("<p>Improvement over %s in the same repetition; where lower is better, the reciprocal of the ratio. "+
		"Lines are 95 %% intervals. ▲ better, ▼ worse, ○ the interval includes 1×.</p>\n<div class=\"charts\">\n", p.report.Base)
	for _, s := range p.report.Subjects {
		if figures := bySubject[s.Name]; len(figures) > 0 {
			p.forest(s.Name, figures)
		}
	}
	p.put("</div>\n</section>\n")
}

// forest draws the panel of one subject. Its logarithmic axis is symmetric around
// 1×. It covers every ratio up to 16×, and intervals up to 4×; an arrow marks an
// interval that is longer.
func (p *page) forest(subject string, figures []Figure) {
	reach := math.Log(2)
	for _, f := range figures {
		reach = max(reach, min(math.Log(16), 1.2*math.Abs(math.Log(f.Ratio.Value))))
		if f.Ratio.Bounded() {
			reach = max(reach, min(math.Log(4), max(-math.Log(f.Ratio.Low), math.Log(f.Ratio.High))))
		}
	}
	height := forestRow*float64(len(figures)) + 18
	p.put("<figure>\n<figcaption>%s</figcaption>\n", subject)
	p.put("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n", chartWidth, height, describeRatios(subject, figures))
	for i, label := range []string{"1/16", "1/8", "1/4", "1/2", "1×", "2×", "4×", "8×", "16×"} {
		log := float64(i-4) * math.Ln2
		if math.Abs(log) > reach*1.001 {
			continue
		}
		class := "grid"
		if log == 0 {
			class = "one"
		}
		x := forestX(log, reach)
		p.put("<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%.1f\"/>", class, x, x, height-16)
		p.put("<text class=\"dim\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", x, height-3, label)
	}
	for i, f := range figures {
		p.forestRow(f, reach, forestRow*(float64(i)+0.5))
	}
	p.put("</svg>\n</figure>\n")
}

func (p *page) forestRow(f Figure, reach, y float64) {
	e := f.Ratio.Improvement(f.Metric.Better)
	verdict := f.Ratio.Verdict(f.Metric.Better)
	class := map[int]string{1: "good", -1: "bad", 0: "same"}[verdict]
	p.put("<g><title>%s</title><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>", f.summary(), forestLeft-8, y+4, f.Metric.short())
	x := forestX(math.Log(e.Value), reach)
	if e.Bounded() {
		lowLog, highLog := math.Log(e.Low), math.Log(e.High)
		low, high := forestX(lowLog, reach), forestX(highLog, reach)
		p.put("<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke-width=\"2\"/>", class, low, high, y, y)
		if lowLog < -reach {
			p.put("<path class=\"%s\" d=\"M%.1f %.1fl6 -4v8z\"/>", class, low-4, y)
		}
		if highLog > reach {
			p.put("<path class=\"%s\" d=\"M%.1f %.1fl-6 -4v8z\"/>", class, high+4, y)
		}
	}
	switch verdict {
	case 1:
		p.put("<path class=\"good\" d=\"M%.1f %.1fl4.5 8h-9z\"/>", x, y-5)
	case -1:
		p.put("<path class=\"bad\" d=\"M%.1f %.1fl4.5 -8h-9z\"/>", x, y+5)
	default:
		p.put("<circle class=\"same\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" stroke-width=\"1.5\"/>", x, y)
	}
	p.put("<text x=\"%.1f\" y=\"%.1f\">%s</text></g>\n", forestRight+8, y+4, e.String())
}

// forestX returns the x coordinate of a logarithm, at most the end of the axis.
func forestX(log, reach float64) float64 {
	log = max(-reach, min(reach, log))
	return (forestLeft+forestRight)/2 + (forestRight-forestLeft)/2*log/reach
}

// short returns a short title that is clear outside of the metric's group.
func (m Metric) short() string {
	prefix := map[string]string{
		groupTCP: "TCP ", groupUDP: "UDP ", groupPPS: "UDP ", groupLatency: "RTT ", groupCPU: "CPU ",
		groupMemory: "RSS ", groupSeal: "seal ", groupOpen: "open ",
	}[m.Group]
	title := m.Title
	switch m.ID {
	case "udp.max":
		title = "highest rate"
	case "rss.client":
		title = "sender"
	case "rss.server":
		title = "receiver"
	}
	return shorten(prefix+title, 30)
}

// describeRatios returns the contents of a panel in words, for screen readers.
func describeRatios(subject string, figures []Figure) string {
	better, worse := 0, 0
	for _, f := range figures {
		switch f.Ratio.Verdict(f.Metric.Better) {
		case 1:
			better++
		case -1:
			worse++
		}
	}
	return subject + ": " + count(better, "figure") + " better than the base, " + count(worse, "figure") + " worse, of " + count(len(figures), "figure")
}
