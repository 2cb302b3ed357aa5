package standalone

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// envReady holds the number of the descriptor on which a daemon's parent waits.
	envReady = "WIRESPAN_READY_FD"
	// readyTime is how long a daemon may take until it is ready.
	readyTime = 20 * time.Second
	readyWord = "ready"
	// maxReport bounds what a parent reads: the word, or an error's text.
	maxReport = 4 << 10
)

// Daemonize starts this program again, with the same arguments, in the background
// and in a session of its own. It returns when that process is ready, or an error
// if that has ended. The process has EnvForeground set to "1" and the inherited
// descriptors, and keeps the standard output and error if EnvLogLevel is set to
// anything but silent.
func Daemonize() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: self, Args: os.Args, Env: os.Environ(), SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	cmd.Env = append(cmd.Env, EnvForeground+"=1")
	if level := os.Getenv(EnvLogLevel); level != "" && level != "silent" {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	for _, variable := range []string{EnvTUN, EnvUAPI} {
		f, err := inheritedFD(variable)
		if err != nil {
			return err
		}
		if f != nil {
			pass(cmd, variable, f)
		}
	}
	return startDaemon(cmd, readyTime)
}

// pass gives the child a descriptor, and its number in a variable.
func pass(cmd *exec.Cmd, variable string, f *os.File) {
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", variable, firstFD+len(cmd.ExtraFiles)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
}

// startDaemon starts cmd and waits until it is ready. A daemon that is not ready
// within limit is killed.
func startDaemon(cmd *exec.Cmd, limit time.Duration) error {
	wait, ready, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	defer wait.Close()
	pass(cmd, envReady, ready)
	err = cmd.Start()
	_ = ready.Close()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	if err := awaitReady(wait, limit); err != nil {
		_ = cmd.Process.Kill() // it may have ended already
		_ = cmd.Wait()
		return err
	}
	return cmd.Process.Release()
}

// awaitReady reads a daemon's report. It returns nil if the daemon is ready.
func awaitReady(wait *os.File, limit time.Duration) error {
	if err := wait.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("wait for the daemon: %w", err)
	}
	report, err := io.ReadAll(io.LimitReader(wait, maxReport))
	text := strings.TrimSpace(string(report))
	switch {
	case text == readyWord:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the daemon was not ready within %s", limit)
	case err != nil:
		return fmt.Errorf("wait for the daemon: %w", err)
	case text == "":
		return errors.New("the daemon ended before it was ready")
	}
	return errors.New(text)
}

// ReportedError is an error that was reported to the waiting parent process, which
// shows it.
type ReportedError struct{ Err error }

// Error returns the text of the error.
func (e ReportedError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e ReportedError) Unwrap() error { return e.Err }

// waiter is the parent process that waits in Daemonize for this one.
type waiter struct {
	pipe *os.File // nil: no process waits, or the report was made
}

func waitingParent() (*waiter, error) {
	f, err := inheritedFD(envReady)
	return &waiter{f}, err
}

// ready reports that this process is ready. It fails if the parent has ended.
func (w *waiter) ready() error {
	if w.pipe == nil {
		return nil
	}
	defer w.close()
	if _, err := io.WriteString(w.pipe, readyWord); err != nil {
		return fmt.Errorf("report that the daemon is ready: %w", err)
	}
	return nil
}

// report reports an error to the parent, if it still waits. It returns a ReportedError
// then, and err itself otherwise.
func (w *waiter) report(err error) error {
	if w.pipe == nil || err == nil {
		return err
	}
	defer w.close()
	if _, writeErr := io.WriteString(w.pipe, err.Error()); writeErr != nil {
		return err
	}
	return ReportedError{err}
}

func (w *waiter) close() {
	_ = w.pipe.Close()
	w.pipe = nil
}
