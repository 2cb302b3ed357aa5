package firewall_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	. "github.com/wirespan/wirespan/firewall"
)

var update = flag.Bool("update", false, "rewrite the rulesets in testdata")

const goldens = "../testdata/firewall/"

// TestRulesets compares canonical texts with ../testdata/firewall/*.txtar. Each
// has a policy as YAML, and the text of its ruleset.
func TestRulesets(t *testing.T) {
	for name, p := range goldenPolicies(t) {
		t.Run(name, func(t *testing.T) {
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, name, "ruleset.golden", Compile(p).String())
		})
	}
}

// TestRulesetOfThousandPeers compares a summary of a large text.
func TestRulesetOfThousandPeers(t *testing.T) {
	rs := Compile(largePolicy(10_000))
	text := rs.String()
	var b strings.Builder
	fmt.Fprintf(&b, "%d bytes, %d lines, sha256 %x\n", len(text), strings.Count(text, "\n"), sha256.Sum256([]byte(text)))
	for _, s := range rs.Sets {
		fmt.Fprintf(&b, "set %s: %d elements from %v to %v\n", s.Name, len(s.Elements), s.Elements[0], s.Elements[len(s.Elements)-1])
	}
	empty := Compile(largePolicy(0))
	fmt.Fprintf(&b, "shape of an empty one: %v\n", rs.SameShape(empty))
	compareGolden(t, "thousand", "summary.golden", b.String())
}

// goldenPolicies returns the policies in testdata by name.
func goldenPolicies(t *testing.T) map[string]Policy {
	t.Helper()
	names, err := filepath.Glob(goldens + "*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no rulesets found: %v", err)
	}
	out := map[string]Policy{}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if archive.Files[0].Name != "policy.yaml" {
			continue
		}
		var p Policy
		dec := yaml.NewDecoder(bytes.NewReader(archive.Files[0].Data))
		dec.KnownFields(true)
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[strings.TrimSuffix(filepath.Base(name), ".txtar")] = p
	}
	return out
}

// compareGolden compares got with the last file of an archive.
func compareGolden(t *testing.T, name, file, got string) {
	t.Helper()
	path := goldens + name + ".txtar"
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := &archive.Files[len(archive.Files)-1]
	if last.Name != file {
		t.Fatalf("%s: last file is %s, want %s", path, last.Name, file)
	}
	if *update {
		last.Data = []byte(got)
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(last.Data); got != want {
		t.Errorf("got\n%s\nwant\n%s\n(go test ./firewall -run TestRuleset -update rewrites it)", got, want)
	}
}
