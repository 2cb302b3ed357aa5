//go:build !edge

package access

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The command finds its proxy in its environment, and no other.
func TestExecEnvironment(t *testing.T) {
	t.Setenv("https_proxy", "http://elsewhere:3128")
	t.Setenv("FTP_PROXY", "http://elsewhere:3128")
	t.Setenv("KEPT", "yes")
	var out bytes.Buffer
	x := Exec{Args: []string{"env"}, Proxy: Private{Address: "127.0.0.1:1080", User: "u", Password: "p@ss"}, Out: &out, Err: &out}
	if code, err := x.Run(); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	for _, want := range []string{
		"ALL_PROXY=socks5h://u:p%40ss@127.0.0.1:1080", "http_proxy=http://u:p%40ss@127.0.0.1:1080", "HTTPS_PROXY=http://u:p%40ss@127.0.0.1:1080",
		"no_proxy=localhost,127.0.0.1,::1", "KEPT=yes",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "elsewhere") {
		t.Errorf("another proxy is left:\n%s", out.String())
	}
}

func TestExecCode(t *testing.T) {
	notRunnable := t.TempDir() + "/file"
	if err := os.WriteFile(notRunnable, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137} {
		x := Exec{Args: []string{"sh", "-c", script}}
		if code, err := x.Run(); code != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", script, code, err, want)
		}
	}
	for command, want := range map[string]int{"/nonexistent": exitNotFound, "no-such-command": exitNotFound, notRunnable: exitNoPermission} {
		x := Exec{Args: []string{command}}
		if code, err := x.Run(); code != want || err == nil {
			t.Errorf("%s: %d, %v; want %d", command, code, err, want)
		}
	}
}

// A signal to this process is one to the command.
func TestExecSignals(t *testing.T) {
	var out bytes.Buffer
	x := Exec{Args: []string{"sh", "-c", "trap 'echo caught; exit 5' TERM; kill -TERM $PPID; while :; do sleep 0.05; done"}, Out: &out}
	if code, err := x.Run(); code != 5 || err != nil || out.String() != "caught\n" {
		t.Errorf("%d, %v, %q", code, err, out.String())
	}
}
