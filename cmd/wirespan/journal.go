package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/hashicorp/go-hclog"
)

// journalPriorities are the priorities of syslog(3) that the journal gives to messages.
var journalPriorities = map[hclog.Level]int{hclog.Trace: 7, hclog.Debug: 7, hclog.Info: 6, hclog.Warn: 4, hclog.Error: 3}

// isJournal reports whether w is the stream to systemd's journal that the service manager
// made for this process (systemd.exec(5), JOURNAL_STREAM).
func isJournal(w io.Writer) bool {
	f, isFile := w.(*os.File)
	if !isFile {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, known := info.Sys().(*syscall.Stat_t)
	return known && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journalOutput writes each message with the priority of its level. The journal adds the
// time itself.
func journalOutput(w io.Writer) io.Writer {
	byLevel := map[hclog.Level]io.Writer{}
	for level, priority := range journalPriorities {
		byLevel[level] = withPriority{w, priority}
	}
	return hclog.NewLeveledWriter(w, byLevel)
}

// withPriority begins each line with its priority, as the journal reads it (sd-daemon(3)).
type withPriority struct {
	w        io.Writer
	priority int
}

// Write writes one or more whole lines at once.
func (p withPriority) Write(text []byte) (int, error) {
	prefix := fmt.Appendf(nil, "<%d>", p.priority)
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		b.Write(prefix)
		b.Write(line)
	}
	if _, err := p.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(text), nil
}
