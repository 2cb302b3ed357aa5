package config

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// encodedByLibrary returns what the library's encoder makes of the same JSON.
func encodedByLibrary(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var n yaml.Node // JSON is YAML, but for some characters
	if err := yaml.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	inBlocks(&n)
	out, err := yaml.Marshal(&n)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func inBlocks(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, child := range n.Content {
		inBlocks(child)
	}
}

// everywhere returns a value that has a string in all places where one can be.
func everywhere(s string) any {
	type entry struct {
		Name   string   `json:"name"`
		List   []string `json:"list"`
		Lists  [][]any  `json:"lists"`
		Nested any      `json:"nested"`
		Last   bool     `json:"last"`
	}
	return []any{
		entry{s, []string{s, "between", s}, [][]any{{s, 1.5, nil}, {}, {s}}, map[string]any{"deep": map[string]any{"key": s, "list": []any{s}}, "empty": struct{}{}}, true},
		map[string]any{"first": s, "none": nil, "number": 1e30, "of mappings": []any{map[string]string{"a": s, "b": s}}, "z": s},
	}
}

// sameAsLibrary reports whether YAML is to write a string byte by byte as the library does.
// The library escapes emoji, and not some spaces; lines that begin with a space or are empty
// at the start it writes in a way that is not always read back. Of a node, it has no regard
// for readers of YAML 1.1.
func sameAsLibrary(s string) bool {
	if otherInYAML11(s) {
		return false
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) || r > 0xffff {
			return false
		}
	}
	return !strings.Contains(s, "\n") || !strings.ContainsAny(s[:1], " \t\n")
}

// Strings that YAML 1.1 takes for something else are quoted as the library does it, and
// addresses are not.
func TestYAMLForOldReaders(t *testing.T) {
	for _, s := range []string{
		"y", "Yes", "NO", "off", "on", "yesterday", "no.example", "12:30", "+1:2", "-190:20:30.15", "1_0:59", "1:60", "1:007", ":30", "12:", "1:2:x", "1.2:3",
		"10.0.0.1:51820", "1:2:3:4:5:6:7:8", "fd00::1", "::1",
	} {
		got, err := YAML(s)
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := yaml.Marshal(s); string(got) != string(want) {
			t.Errorf("%q is %s, the library writes %s", s, got, want)
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"", "a", "a b", " a", "a ", "-", "- a", "-a", "--- a", "...", "?", "? a", "?a", ":", ": a", ":a", "a:", "a: b", "a:b", "a #b", "a#b", "#",
		",", "[::1]:51820", "{}", "&a", "*a", "!a", "|", ">", "'", "it's", "'a'", `"`, `a"b`, `a\b`, "%", "@", "`", "~", "null", "true", "yes", "on",
		"0", "-1", "0x1f", "0o17", "1_000", "1.5", ".5", "1e3", ".inf", "NaN", "2026-01-02", "2026-01-02T15:04:05Z", "12:30", "-1:2:59.5", "1:60", "1:2:3:4:5:6:7:8", "<<", "=",
		"a\nb", "a\nb\n", "a\n\n", "a\n\nb", "a \nb", "a\n b", "a\nb ", "\n", "\na", " a\nb", "a\tb", "a\tb\nc", "a\r\nb", "a\x00b", "é", "\u00a0", "\u2028", "😀", "\ufeff", "\x7f", "\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v := everywhere(s)
		got, err := YAML(v)
		if err != nil {
			t.Fatal(err)
		}
		if sameAsLibrary(s) {
			if want := encodedByLibrary(t, v); string(got) != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		}
		var read any
		if err := yaml.Unmarshal(got, &read); err != nil {
			t.Fatalf("%v in\n%s", err, got)
		}
		gotJSON, _ := json.Marshal(read)
		wantJSON := sortedJSON(t, v)
		if string(gotJSON) != wantJSON {
			t.Errorf("%q is read as\n%s, want\n%s\nfrom\n%s", s, gotJSON, wantJSON, got)
		}
	})
}

// sortedJSON returns the JSON of a value with its keys sorted.
func sortedJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		t.Fatal(err)
	}
	data, err = json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A key is quoted like a value, and is always on one line.
func TestYAMLKeys(t *testing.T) {
	for _, key := range []string{"a b", "true", "1", "-", "a: b", "'", "é"} {
		v := map[string]any{"list": []any{map[string]any{key: key}}, key: []string{key}}
		got, err := YAML(v)
		if want := encodedByLibrary(t, v); err != nil || string(got) != want {
			t.Errorf("got\n%s, %v, want\n%s", got, err, want)
		}
	}
	if got, err := YAML(map[string]string{"a\nb": "c"}); err != nil || string(got) != "\"a\\nb\": c\n" {
		t.Errorf("got %s, %v", got, err)
	}
}
