//go:build edge

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// A command that the edge build lacks says so whatever follows it, and fails. It is no mistake
// in the command line: the full build takes it.
func TestLeftOutCommands(t *testing.T) {
	for name, instead := range map[string]string{
		"token": onFounder, "expel": onFounder, "secret": onFounder, "authority": onFounder,
		"exec": "the TUN", "discovery": useFull, "bench": useFull, "demo": useFull,
	} {
		for _, more := range [][]string{nil, {"--help"}, {"--no-such-flag"}, {"a", "b", "c"}, {"--listen-port", "many"}} {
			var out, errs bytes.Buffer
			args := append([]string{name}, more...)
			code := run(context.Background(), args, stdio{strings.NewReader(""), &out, &errs})
			want := "wirespan: this is the edge build, which has no command " + name + ": "
			if code != exitFailure || out.Len() > 0 || !strings.HasPrefix(errs.String(), want) || !strings.HasSuffix(errs.String(), instead+"\n") {
				t.Errorf("%q = %d, %q, %q", args, code, out.String(), errs.String())
			}
		}
	}
}
