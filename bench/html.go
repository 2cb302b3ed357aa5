package bench

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// WriteHTML writes the report as one self-contained page with charts in inline
// SVG. The page has no scripts and loads nothing; its content security policy
// forbids both. It is light or dark as the reader prefers.
func WriteHTML(w io.Writer, r *Report) error {
	p := &page{report: r, figures: r.figures()}
	p.head()
	p.list("warnings", "Warnings", r.warnings())
	p.list("problems", "Did not run, or not to the end", r.problems())
	p.ratioCharts()
	p.barCharts()
	p.details()
	p.list("notes", "Notes", r.Notes)
	p.put("</main>\n</body>\n</html>\n")
	_, err := io.WriteString(w, p.b.String())
	return err
}

// page builds HTML.
type page struct {
	b       strings.Builder
	report  *Report
	figures []Figure
}

// put formats into the page. It escapes the strings among args: they are text,
// never markup.
func (p *page) put(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = html.EscapeString(clean(s))
		}
	}
	fmt.Fprintf(&p.b, format, args...)
}

func (p *page) head() {
	p.put(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>wirespan bench: %s</title>
<style>`, p.report.Kind)
	p.b.WriteString(styleSheet)
	p.put("</style>\n</head>\n<body>\n<main>\n<h1>wirespan bench: %s</h1>\n<dl>\n", p.report.Kind)
	for _, f := range p.report.facts() {
		p.put("<div><dt>%s</dt><dd>%s</dd></div>\n", f[0], f[1])
	}
	p.put("</dl>\n")
	if len(p.figures) == 0 {
		p.put("<p>Nothing was measured.</p>\n")
	}
}

func (p *page) list(class, title string, items []string) {
	if len(items) == 0 {
		return
	}
	p.put("<section class=\"%s\">\n<h2>%s</h2>\n<ul>\n", class, title)
	for _, item := range items {
		p.put("<li>%s</li>\n", item)
	}
	p.put("</ul>\n</section>\n")
}

// details writes the table of all figures.
func (p *page) details() {
	if len(p.figures) == 0 {
		return
	}
	p.put("<section>\n<h2>All figures</h2>\n<div class=\"wide\"><table>\n<thead><tr>")
	for _, h := range []string{"metric", "subject", "median", "min–max", "every run", "ratio", "95 %", ""} {
		p.put("<th scope=\"col\">%s</th>", h)
	}
	p.put("</tr></thead>\n<tbody>\n")
	for rest := p.figures; len(rest) > 0; {
		n := span(rest, sameMetric)
		scale := scaleOf(rest[:n])
		for i, f := range rest[:n] {
			p.detail(f, scale, i == 0)
		}
		rest = rest[n:]
	}
	p.put("</tbody>\n</table></div>\n</section>\n")
}

func (p *page) detail(f Figure, scale displayScale, first bool) {
	if first {
		p.put(`<tr class="first"><th scope="row">%s: %s</th>`, f.Metric.Group, f.Metric.heading())
	} else {
		p.put("<tr><td></td>")
	}
	runs := make([]string, len(f.Values))
	for i, v := range f.Values {
		runs[i] = scale.format(v)
	}
	ratio, interval := "", ""
	switch {
	case f.Subject == p.report.Base:
		ratio = "base"
	case f.Ratio != nil:
		ratio, interval = f.Ratio.String(), f.Ratio.Interval()
	}
	p.put(`<td>%s</td><td class="n">%s %s</td><td class="n">%s–%s</td><td class="n">%s</td><td class="n">%s</td><td class="n">%s</td><td>%s</td></tr>`+"\n",
		f.Subject, scale.format(f.Median), scale.unit, scale.format(f.Min), scale.format(f.Max), strings.Join(runs, "  "), ratio, interval, f.verdict())
}
