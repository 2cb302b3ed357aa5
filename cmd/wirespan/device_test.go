package main

import (
	"slices"
	"testing"
)

func TestCommandLine(t *testing.T) {
	for argv0, want := range map[string][]string{
		"wirespan":                {"-f", "wg0"},
		"/usr/bin/wirespan":       {"-f", "wg0"},
		"wirespan-device":         {"device", "-f", "wg0"},
		"/usr/local/wireguard-go": {"device", "-f", "wg0"},
	} {
		if got := commandLine([]string{argv0, "-f", "wg0"}); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", argv0, got, want)
		}
	}
}
