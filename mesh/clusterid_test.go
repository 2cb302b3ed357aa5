package mesh

import "testing"

func TestShortClusterID(t *testing.T) {
	for id, want := range map[string]string{
		"":                         "",
		"home":                     "home",
		"Y2x1c3Rlci1vZi1taW5lISE=": "Y2x1c3Rl",
		"a b\nc\x00\x7fd":          "a?b?c??d",
		"1234567é":                 "1234567?",
	} {
		if got := ShortClusterID(id); got != want {
			t.Errorf("ShortClusterID(%q) = %q, want %q", id, got, want)
		}
	}
}
