package main

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

func TestTextCell(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"node-1":                 "node-1",
		"Debian GNU/Linux (12)":  "Debian GNU/Linux (12)",
		`"a"`:                    `"a"`,
		"box9   up      fd00::1": `"box9   up      fd00::1"`,
		"a ":                     `"a "`,
		"a\nb":                   `"a\nb"`,
		"a\x1b[31m":              `"a\x1b[31m"`,
		"a\u202eb":               `"a\u202eb"`,
	} {
		if got := textCell(in); got != want {
			t.Errorf("textCell(%q) = %s, want %s", in, got, want)
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

// hostileName is what a registry that cleans nothing could hand on.
var hostileName = "evil\"; run: $(id)\n\x1b[2J\u202e'`\xff" + strings.Repeat("x", 10_000)

// wantHarmless fails unless all of text prints, in lines of its own.
func wantHarmless(t *testing.T, what, text string) {
	t.Helper()
	if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) || strings.Contains(text, "\n"+hostileName[16:20]) {
		t.Errorf("%s: %.300q", what, text)
	}
}

// Whatever shows a node's name shows it quoted.
func TestNamesAreHarmless(t *testing.T) {
	peer := agent.PeerView{Label: hostileName, PublicKey: mesh.Key{1}, Address: netip.MustParseAddr("fd00::1"), Reason: "none"}
	s := &agent.Status{Node: agent.NodeStatus{Hostname: "self"}, Peers: []agent.PeerView{peer}}
	for _, columns := range []int{80, 20_000} {
		var b strings.Builder
		if err := writeStatus(&b, s, time.Time{}, columns); err != nil {
			t.Fatal(err)
		}
		wantHarmless(t, "status", b.String())
		if columns == 80 && len(b.String()) > 2000 {
			t.Errorf("status has %d bytes for one peer", len(b.String()))
		}
	}
	_, err := control.FindPeer(s, "b")
	wantHarmless(t, "find", err.Error())
	wantHarmless(t, "wait", control.NotUp(s, "all"))

	var out strings.Builder
	c := newCLI(stdio{out: &out})
	plan := firewall.Explanation{Path: firewall.PathTunnel, Peer: hostileName}
	c.printExplanation(agent.Explanation{Plan: plan, State: new(mesh.PeerStateUp)}, "10.1.0.1")
	wantHarmless(t, "explain", out.String())
	q := firewall.Query{Destination: netip.MustParseAddr("10.1.0.1"), Peers: []firewall.Owner{{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Peer: hostileName}}}
	for _, r := range (firewall.Policy{Routed: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}).Explain(q).Reasons {
		wantHarmless(t, "reason", r.Text)
	}
	if got := plainWords([]string{"node-1", hostileName, "$(id)", "a b", "", mesh.Key{1}.String(), "-rf"}); !slices.Equal(got, []string{"node-1", mesh.Key{1}.String()}) {
		t.Errorf("completions %q", got)
	}
}
