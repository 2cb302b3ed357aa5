package bench

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// element is a start tag of a page.
type element struct {
	tag  string
	attr map[string]string
}

// parse lists the elements and joins the text of a page.
func parse(t *testing.T, page string) (elements []element, text string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range root.Descendants() {
		switch n.Type {
		case html.ElementNode:
			e := element{n.Data, map[string]string{}}
			for _, a := range n.Attr {
				e.attr[a.Key] = a.Val
			}
			elements = append(elements, e)
		case html.TextNode:
			if n.Parent.Data != "style" {
				b.WriteString(n.Data + "\n")
			}
		}
	}
	return elements, b.String()
}

func TestPage(t *testing.T) {
	page := pageOf(t, sampleReport())
	if file := os.Getenv("BENCH_PAGE"); file != "" { // to look at in a browser
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	elements, text := parse(t, page)
	tags := map[string]int{}
	for _, e := range elements {
		tags[e.tag]++
		if e.tag == "svg" && (e.attr["role"] != "img" || e.attr["aria-label"] == "") {
			t.Error("a chart without a description")
		}
	}
	metrics := len(sampleValues(1, 1))
	if want := metrics + 3; tags["svg"] != want { // one per subject beside the base
		t.Errorf("%d charts, want %d", tags["svg"], want)
	}
	if want := 4*metrics + 1; tags["tr"] != want {
		t.Errorf("%d rows, want %d", tags["tr"], want)
	}
	for _, want := range []string{
		"wirespan-netstack", "Example 9000", "congestion control cubic (the system's default is bbr)",
		"kernel: skipped: this kernel has no wireguard module", "the hypervisor", "paced 1 Gb/s sender", "Compared with wireguard-go",
	} {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
			t.Errorf("no %q on the page", want)
		}
	}
}

// The page loads nothing and runs nothing, even if the report is hostile.
func TestPageStandsAlone(t *testing.T) {
	hostile := `"><script>alert(1)</script><img src=http://example.com/x onerror='alert(1)'>&lt;`
	r := sampleReport()
	for i := range r.Subjects {
		r.Subjects[i].Name += hostile
	}
	for i := range r.Runs {
		r.Runs[i].Subject += hostile
		r.Runs[i].Error = hostile
	}
	r.Base += hostile
	r.Kind, r.Notes, r.Machine.Governor, r.Machine.CPUModel = hostile, []string{hostile}, hostile, hostile
	r.Runs[0].Values[hostile] = 1
	elements, text := parse(t, pageOf(t, r))
	for _, e := range elements {
		switch e.tag {
		case "script", "img", "iframe", "object", "embed", "a", "form", "use", "image":
			t.Errorf("<%s> on the page", e.tag)
		}
		for k, v := range e.attr {
			if strings.HasPrefix(k, "on") || k == "src" || k == "href" && v != "data:," {
				t.Errorf("<%s %s=%q>", e.tag, k, v)
			}
		}
	}
	if !strings.Contains(text, hostile) {
		t.Error("the hostile text is not shown as text")
	}
}

// Every number in the drawing is finite.
func TestPageDrawsExtremes(t *testing.T) {
	r := sampleReport()
	r.Runs[0].Values["tcp.up.1"], r.Runs[1].Values["tcp.up.1"] = 1e18, 1e-12
	for i := range r.Runs {
		if r.Runs[i].Values != nil {
			r.Runs[i].Values["tcp.up.4"] = 0
		}
	}
	elements, _ := parse(t, pageOf(t, r))
	for _, e := range elements {
		for k, v := range e.attr {
			if strings.Contains(v, "NaN") || strings.Contains(v, "Inf") {
				t.Errorf("<%s %s=%q>", e.tag, k, v)
			}
		}
	}
}

func TestPageOfNothing(t *testing.T) {
	_, text := parse(t, pageOf(t, &Report{Kind: KindRun}))
	if !strings.Contains(text, "Nothing was measured.") {
		t.Error(text)
	}
}
