package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wirespan": main})
}

// awaitTimeout is how long a script waits for what is to happen.
const awaitTimeout = 30 * time.Second

// TestScript runs the command as users do. Settings in the environment keep a
// script to its own directory and to ports that nobody else has.
func TestScript(t *testing.T) {
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var scripts atomic.Int32
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join(repo, "testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			none := filepath.Join(env.WorkDir, "none.yaml") // instead of /etc/wirespan/config.yaml
			for key, value := range map[string]string{
				"REPO":                      repo,
				"WIRESPAN_CONFIG":           none,
				"WIRESPAN_STATE_DIR":        filepath.Join(env.WorkDir, "state"),
				"WIRESPAN_CONTROL_SOCKET":   filepath.Join(env.WorkDir, "socket"),
				"WIRESPAN_INTERFACE_NAME":   fmt.Sprintf("t%d-%d", os.Getpid(), scripts.Add(1)),
				"WIRESPAN_BACKEND":          "netstack",
				"WIRESPAN_LISTEN_PORT":      "0",
				"WIRESPAN_DISCOVERY_LISTEN": "127.0.0.1:0",
				"WIRESPAN_PORT_MAPPING":     "never",
				"WIRESPAN_NODENAME":         "self",
				"GORACE":                    "atexit_sleep_ms=0", // a second for each command
				"WIRESPAN_NO_CLOCK_FIX":     "true",
			} {
				env.Setenv(key, value)
			}
			return os.WriteFile(none, nil, 0o600)
		},
		Condition: func(name string) (bool, error) {
			if name != "edge" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return edgeBuild, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"await":  await,
			"signal": sendSignal,
			"mode":   mode,
		},
	})
}

// exits runs a command that must end with this code: exits CODE PROGRAM ARG...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// await runs a command again and again, until it succeeds and its output
// matches (or, negated, no longer does): await PATTERN PROGRAM ARG...
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: await PATTERN PROGRAM ARG...")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(awaitTimeout); time.Now().Before(end); <-poll.C {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && pattern.MatchString(ts.ReadFile("stdout")) != neg {
			return
		}
	}
	ts.Fatalf("never: %q", args)
}

// sendSignal signals the running commands that have an argument: signal SIGHUP ARG
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || unix.SignalNum(args[0]) == 0 {
		ts.Fatalf("usage: signal SIGNAL ARG")
	}
	sent := false
	for _, cmd := range ts.BackgroundCmds() {
		if slices.Contains(cmd.Args, args[1]) {
			sent = cmd.Process.Signal(unix.SignalNum(args[0])) == nil || sent
			if args[0] == "SIGSTOP" { // a script that fails waits for its commands
				stopped := cmd.Process
				ts.Defer(func() { _ = stopped.Signal(unix.SIGCONT) })
			}
		}
	}
	if !sent {
		ts.Fatalf("no running command has the argument %q", args[1])
	}
}

// mode checks permissions: mode 0600 FILE...
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode MODE FILE...")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := info.Mode().Perm(); got != fs.FileMode(want) {
			ts.Fatalf("%s: mode %04o, want %04o", file, got, want)
		}
	}
}
