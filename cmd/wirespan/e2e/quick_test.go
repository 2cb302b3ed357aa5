package e2e

import "strings"

// scenarioQuick has the agent run commands for clients: the output is that of a client that
// runs them itself, and nothing but the start of the program is initialised.
func scenarioQuick(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("")
	b.join(a.found())
	l.allUp(a, b)
	self := func(args ...string) (string, error) { // a client with a setting in its environment
		return b.exec(append([]string{"env", "WIRESPAN_LOGGING_LEVEL=warn"}, b.argv(args...)...)...)
	}
	for _, line := range []string{"get members -o json", "get identities", "get kubespanconfigs --output=yaml", "get members a"} {
		args := strings.Fields(line)
		want, err := self(args...)
		if err != nil {
			l.Fatal(err)
		}
		if got := b.mustCLI(args...); got != want {
			l.Errorf("%s: the agent says\n%s\nand the client\n%s", line, got, want)
		}
	}
	const last = "init github.com/spf13/cobra "
	traced := func(args ...string) string {
		out, _ := b.exec(append([]string{"env", "GODEBUG=inittrace=1"}, b.argv(args...)...)...)
		return out
	}
	if out := traced("status"); strings.Contains(out, last) || !strings.Contains(out, "peers") {
		l.Errorf("the agent runs no command: %s", out)
	}
	// What the agent does not run, the client does, and tells what is wrong.
	for _, line := range []string{"get nothing", "status --check ready"} {
		want, wantErr := self(strings.Fields(line)...)
		got, gotErr := b.cli(strings.Fields(line)...)
		if got != want || (gotErr == nil) != (wantErr == nil) {
			l.Errorf("%s: %q, %v, want %q, %v", line, got, gotErr, want, wantErr)
		}
	}
	if out := traced("status", "--check", "ready"); !strings.Contains(out, last) {
		l.Errorf("the trace shows no end of the start: %s", out)
	}
}
