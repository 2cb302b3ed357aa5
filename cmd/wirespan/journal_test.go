package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/wirespan/wirespan/mesh/config"
)

// journal returns a file that the service manager is said to have connected to the
// journal.
func journal(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/journal")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	return f
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	data, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Each message has its level as priority, each line of it too, and no time.
func TestJournalPriorities(t *testing.T) {
	for name, l := range map[string]config.Logging{"text": {Level: "trace"}, "JSON": {Level: "trace", JSON: true}} {
		t.Run(name, func(t *testing.T) {
			f := journal(t)
			log := newLogger(l, f)
			log.Trace("one")
			log.Debug("two")
			log.Named("part").Info("three", "more", "a\nb")
			log.Warn("four")
			log.Error("five", "error", errors.New("why"))
			out := content(t, f)
			for word, priority := range map[string]string{"one": "7", "two": "7", "three": "6", "four": "4", "five": "3"} {
				if !regexp.MustCompile(`(?m)^<` + priority + `>.*` + word).MatchString(out) {
					t.Errorf("%s has not priority %s:\n%s", word, priority, out)
				}
			}
			for line := range strings.Lines(out) {
				if !regexp.MustCompile(`^<\d>`).MatchString(line) {
					t.Errorf("a line without a priority: %s", line)
				}
			}
			if regexp.MustCompile(`\d\d:\d\d:\d\d`).MatchString(out) {
				t.Errorf("the time is in\n%s", out)
			}
		})
	}
}

// What ends a command is an error in the journal, all of its lines.
func TestJournalFailure(t *testing.T) {
	f := journal(t)
	if code := run(t.Context(), []string{"validate", "/nowhere/a", "/nowhere/b"}, stdio{strings.NewReader(""), f, f}); code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	if out := content(t, f); !strings.HasPrefix(out, "<3>wirespan: ") {
		t.Errorf("the journal has\n%s", out)
	}
}

// A variable that was inherited from a service does not make every file a journal.
func TestNoJournal(t *testing.T) {
	journal(t)
	other, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	newLogger(config.Logging{Level: "info"}, other).Info("one")
	if out := content(t, other); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\S+ \[INFO\]  wirespan: one\n$`).MatchString(out) {
		t.Errorf("the file has %q", out)
	}
	var b bytes.Buffer
	newLogger(config.Logging{Level: "info"}, &b).Info("one")
	if strings.HasPrefix(b.String(), "<") {
		t.Errorf("the buffer has %q", b.String())
	}
}
