package bench

import (
	"fmt"
	"math"
	"sort"
	"strings"
)

// Geometry of a chart, in SVG units.
const (
	chartWidth = 480.0
	barsLeft   = 150.0 // end of the names
	barsRight  = 388.0 // end of the bars, before the values
	rowHeight  = 24.0
)

// barCharts draws one panel per metric, by group. Every panel has a scale of its
// own that starts at zero: subjects are compared, not metrics.
func (p *page) barCharts() {
	if len(p.figures) > 0 {
		p.put("<p class=\"key\">Bars are medians, lines reach from the lowest to the highest run, dots are single runs. A bar with a gap is longer than its panel.</p>\n")
	}
	for rest := p.figures; len(rest) > 0; {
		n := span(rest, func(a, z Figure) bool { return a.Metric.Group == z.Metric.Group })
		p.put("<section>\n<h2>%s</h2>\n<div class=\"charts\">\n", rest[0].Metric.Group)
		for group := rest[:n]; len(group) > 0; {
			m := span(group, sameMetric)
			p.bars(group[:m])
			group = group[m:]
		}
		p.put("</div>\n</section>\n")
		rest = rest[n:]
	}
}

// bars draws the panel of one metric.
func (p *page) bars(figures []Figure) {
	m := figures[0].Metric
	scale := scaleOf(figures)
	end := axisEnd(figures)
	height := rowHeight*float64(len(figures)) + 18
	p.put("<figure>\n<figcaption>%s <span>%s</span></figcaption>\n", m.Title, m.direction(scale))
	p.put("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n", chartWidth, height, describe(figures, scale))
	for _, t := range ticks(end * scale.factor) {
		x := barX(t/scale.factor, end)
		p.put("<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%.1f\"/>", x, x, height-16)
		p.put("<text class=\"dim\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", x, height-3, tickLabel(t))
	}
	for i, f := range figures {
		p.bar(f, end, rowHeight*float64(i))
		p.put("<text x=\"%.1f\" y=\"%.1f\">%s</text></g>\n", barsRight+8, rowHeight*float64(i)+16, scale.format(f.Median)+" "+scale.unit)
	}
	p.put("</svg>\n</figure>\n")
}

// bar draws the row of a subject. The caller closes the row's SVG group.
func (p *page) bar(f Figure, end, y float64) {
	p.put("<g><title>%s: %s</title>", f.Subject, f.summary())
	p.put("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>", barsLeft-8, y+16, shorten(f.Subject, 23))
	width := barX(min(f.Median, end), end) - barsLeft
	p.put("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"2\"/>", p.colour(f.Subject), barsLeft, y+3, width, rowHeight-6)
	if f.Median > end { // longer than the panel: two strokes cut the bar
		for _, x := range []float64{barsRight - 22, barsRight - 14} {
			p.put("<line class=\"cut\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", x-3, y+rowHeight-2, x+3, y+2)
		}
		return
	}
	if len(f.Values) < 2 {
		return
	}
	middle := y + rowHeight/2
	low, high := barX(f.Min, end), barX(min(f.Max, end), end)
	p.put("<path class=\"ink\" d=\"M%.1f %.1fv8m0-4H%.1fm0-4v8\"/>", low, middle-4, high)
	for i, v := range f.Values {
		if v <= end {
			offset := 3 * float64(i%3-1) // so that equal runs don't hide each other
			p.put("<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>", barX(v, end), middle+offset)
		}
	}
}

// barX returns the x coordinate of a value on an axis from zero to end.
func barX(v, end float64) float64 { return barsLeft + (barsRight-barsLeft)*v/end }

// axisEnd returns the end of the axis: the highest value. The exception is one
// subject, such as the plain link, that is more than three times above all
// others; its bar is cut, since the others would become too short.
func axisEnd(figures []Figure) float64 {
	highest := make([]float64, 0, len(figures))
	for _, f := range figures {
		highest = append(highest, f.Max)
	}
	sort.Slice(highest, func(i, j int) bool { return highest[i] < highest[j] })
	n := len(highest)
	end := highest[n-1]
	if n > 2 && highest[n-2] > 0 && end > 3*highest[n-2] {
		for _, f := range figures {
			if f.Max == end && f.Median > 3*highest[n-2] {
				end = 1.2 * highest[n-2]
				break
			}
		}
	}
	if end <= 0 {
		return 1
	}
	return end
}

// ticks returns three to six round numbers from 0 to at most end.
func ticks(end float64) []float64 {
	step := math.Pow(10, math.Floor(math.Log10(end)))
	switch {
	case end/step < 2:
		step /= 2
	case end/step >= 5:
		step *= 2
	}
	var out []float64
	for i := 0.0; i*step <= end*1.0001; i++ {
		out = append(out, i*step)
	}
	return out
}

func tickLabel(v float64) string {
	s := significant(v)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// direction returns the unit, and which direction is better.
func (m Metric) direction(scale displayScale) string {
	switch m.Better {
	case 1:
		return join(scale.unit, "higher is better")
	case -1:
		return join(scale.unit, "lower is better")
	}
	return scale.unit
}

// describe returns the contents of a panel in words, for screen readers.
func describe(figures []Figure, scale displayScale) string {
	parts := make([]string, len(figures))
	for i, f := range figures {
		parts[i] = f.Subject + " " + scale.format(f.Median) + " " + scale.unit
	}
	return figures[0].Metric.Title + ": " + strings.Join(parts, ", ")
}

// summary describes a figure in one line.
func (f Figure) summary() string {
	scale := scaleOf([]Figure{f})
	s := fmt.Sprintf("%s %s [%s–%s] in %s", scale.format(f.Median), scale.unit, scale.format(f.Min), scale.format(f.Max), count(len(f.Values), "run"))
	if f.Ratio != nil {
		s += ", " + f.Ratio.String() + " [" + f.Ratio.Interval() + "]"
	}
	return s
}

// colour returns the CSS class of a subject's bars. It is the same in all panels.
func (p *page) colour(subject string) string {
	n := 0
	for _, s := range p.report.Subjects {
		if s.Name == "raw" && subject == "raw" {
			return "s0"
		}
		if s.Name == subject {
			return fmt.Sprintf("s%d", n%6+1)
		}
		if s.Name != "raw" {
			n++
		}
	}
	return "s0"
}

// shorten cuts text to at most n characters.
func shorten(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
