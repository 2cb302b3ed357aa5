package bench

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) { golden(t, "table", tableOf(t, sampleReport())) }

func TestTableOfNothing(t *testing.T) {
	r := &Report{Schema: Schema, Kind: KindLocal, Base: "raw", Subjects: []Subject{{Name: "raw", Skipped: "needs root"}}}
	got := tableOf(t, r)
	for _, want := range []string{"Nothing was measured.", "raw: skipped: needs root"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

// A report is untrusted: it must not send control characters to the terminal.
func TestTableCleans(t *testing.T) {
	r := sampleReport()
	hostile := "\x1b[2Jx\n\u202e\x00"
	r.Subjects[0].Name, r.Subjects[4].Skipped, r.Base, r.Notes = hostile, hostile, hostile, []string{hostile}
	r.Machine.CPUModel, r.Machine.Offloads, r.Command = hostile, map[string]bool{hostile: true}, []string{hostile}
	r.Runs[0].Subject, r.Runs[0].Error = hostile, hostile
	r.Runs[0].Values[hostile] = 1
	for _, c := range tableOf(t, r) {
		if c == '\x1b' || c == '\u202e' || c == 0 {
			t.Fatalf("%q reached the table", c)
		}
	}
}
