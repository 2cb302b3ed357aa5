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
	// envReady names the descriptor on which a daemon's parent waits.
	envReady = "WIRESPAN_READY_FD"
	// readyTime is how long a daemon may take until it is ready.
	readyTime = 20 * time.Second
	readyWord = "ready"
	// maxReady bounds what a parent reads: the word, or an error's text.
	maxReady = 4 << 10
)

// Daemonize starts this command again, in the background and in a session of
// its own, and returns when it is ready or has ended.
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

// pass gives the child a descriptor, and says its number in a variable.
func pass(cmd *exec.Cmd, variable string, f *os.File) {
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", variable, firstFD+len(cmd.ExtraFiles)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
}

// startDaemon starts cmd and waits until it is ready. If it isn't in time, it is
// killed.
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
		_ = cmd.Process.Kill() // it may be on its way out
		_ = cmd.Wait()
		return err
	}
	return cmd.Process.Release()
}

// awaitReady reads what a daemon says of itself.
func awaitReady(wait *os.File, limit time.Duration) error {
	if err := wait.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return fmt.Errorf("wait for the daemon: %w", err)
	}
	said, err := io.ReadAll(io.LimitReader(wait, maxReady))
	text := strings.TrimSpace(string(said))
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

// ReportedError is an error of which the waiting parent process was told, and
// which that process shows.
type ReportedError struct{ Err error }

// Error returns the text of the error.
func (e ReportedError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e ReportedError) Unwrap() error { return e.Err }

// readiness is a parent that waits for this process.
type readiness struct {
	parent *os.File // nil: nobody waits
}

func waitingParent() (*readiness, error) {
	f, err := inheritedFD(envReady)
	return &readiness{f}, err
}

// tell says that all is well. It fails if the parent has gone.
func (r *readiness) tell() error {
	if r.parent == nil {
		return nil
	}
	defer r.close()
	if _, err := io.WriteString(r.parent, readyWord); err != nil {
		return fmt.Errorf("tell that the daemon is ready: %w", err)
	}
	return nil
}

// explain hands an error to the parent, if it still waits, to show it.
func (r *readiness) explain(err error) error {
	if r.parent == nil || err == nil {
		return err
	}
	defer r.close()
	if _, writeErr := io.WriteString(r.parent, err.Error()); writeErr != nil {
		return err
	}
	return ReportedError{err}
}

func (r *readiness) close() {
	_ = r.parent.Close()
	r.parent = nil
}
