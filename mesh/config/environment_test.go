package config

import (
	"maps"
	"strings"
	"testing"
)

// What systemd 252 makes of these lines.
func TestParseEnvironment(t *testing.T) {
	text := strings.Join([]string{
		`# a comment`, `; another`, ``, `no variable`,
		`PLAIN=one two `, `  SPACED = x`, `EMPTY=`,
		`DOUBLE="a b" `, `SINGLE='a\b"'`, `ESCAPED=a\ b\"`, `JOINED="a"'b'c`, `INSIDE=a"b"`,
		`QUOTED="a \"b\" \$c \d"`, `LONG=one\`, `two`, `LINES="one`, `two"`, `TWICE=1`, `TWICE=2`, `CRLF=x` + "\r", `AFTER="x" # y`, `LAST=end\`,
	}, "\n")
	want := map[string]string{
		"PLAIN": "one two", "SPACED": "x", "EMPTY": "", "DOUBLE": "a b", "SINGLE": `a\b"`, "ESCAPED": `a b"`, "JOINED": "abc", "INSIDE": `a"b"`,
		"QUOTED": `a "b" $c \d`, "LONG": "onetwo", "LINES": "one\ntwo", "TWICE": "2", "CRLF": "x", "AFTER": "x# y", "LAST": "end",
	}
	if got := ParseEnvironment(text); !maps.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func FuzzParseEnvironment(f *testing.F) {
	f.Add("A=1\nB='x")
	f.Add("A=\"\\\n\\\"\n#")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range ParseEnvironment(text) {
			if len(name)+len(value) > len(text) || strings.Contains(name, "\n") {
				t.Errorf("%q=%q", name, value)
			}
		}
	})
}
