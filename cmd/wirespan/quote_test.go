package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh/agent"
)

func TestCells(t *testing.T) {
	for _, tt := range []struct{ in, name, text string }{
		{"node-1", "node-1", "node-1"},
		{"Debian GNU/Linux (12)", `"Debian GNU/Linux (12)"`, "Debian GNU/Linux (12)"},
		{"box9   up      fd00::1", `"box9   up      fd00::1"`, `"box9   up      fd00::1"`},
		{"a ", `"a "`, `"a "`},
		{"a\nb", `"a\nb"`, `"a\nb"`},
		{"a\x1b[31m", `"a\x1b[31m"`, `"a\x1b[31m"`},
		{"a\u202eb", `"a\u202eb"`, `"a\u202eb"`},
		{`"a"`, `"\"a\""`, `"a"`},
		{"", "", ""},
	} {
		if got := nameCell(tt.in); got != tt.name {
			t.Errorf("nameCell(%q) = %s, want %s", tt.in, got, tt.name)
		}
		if got := textCell(tt.in); got != tt.text {
			t.Errorf("textCell(%q) = %s, want %s", tt.in, got, tt.text)
		}
	}
}

// A peer's name cannot fake the columns after it, in any table.
func TestNamesCannotFakeColumns(t *testing.T) {
	const forged = "box9   up      1s ago   1.2 GiB"
	var b strings.Builder
	if err := peerTable([]agent.PeerView{{Label: forged}}, time.Time{}, 200).write(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "\n\""+forged+"\"   ") {
		t.Errorf("status:\n%s", b.String())
	}
	typ, err := agent.FindResourceType("members")
	if err != nil {
		t.Fatal(err)
	}
	row := getter{typ: typ}.row(agent.Resource{
		Metadata: agent.Metadata{ID: forged, Version: 1},
		Spec:     json.RawMessage(`{"hostname": "a   worker", "machineType": "worker", "operatingSystem": "b\u001b[2J", "addresses": ["10.0.0.1"]}`),
	})
	if want := []string{`"` + forged + `"`, "1", `"a   worker"`, "worker", `"b\x1b[2J"`, `["10.0.0.1"]`}; strings.Join(row, "|") != strings.Join(want, "|") {
		t.Errorf("get: %q", row)
	}
}
