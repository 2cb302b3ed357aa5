package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// labProcess is a program that runs on a host.
type labProcess struct {
	cmd    *exec.Cmd
	log    string // path of its output
	exited chan struct{}
}

// spawn starts a program on the host. The lab ends it when the test ends.
func (h *labHost) spawn(name string, argv ...string) *labProcess {
	h.Helper()
	p := &labProcess{log: filepath.Join(h.dir, name+".log"), exited: make(chan struct{})}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.Fatal(err)
	}
	defer f.Close()
	if !slices.Contains(h.logs, p.log) {
		h.logs = append(h.logs, p.log)
	}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", h.ns}, argv...)...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = cleanEnvironment(), f, f
	// ip(8) executes the program in its own process, so that pid and signals are the
	// program's.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		h.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has the result
		close(p.exited)
	}()
	h.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
	})
	return p
}

// end sends a signal and waits for the exit.
func (p *labProcess) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal %s: %v", sig, err)
	}
	p.wait(t)
}

// wait waits for the exit.
func (p *labProcess) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s has not ended within 30s", filepath.Base(p.log))
	}
}

// running returns an error if the program has ended.
func (p *labProcess) running() error {
	select {
	case <-p.exited:
		return errors.New(filepath.Base(p.log) + ": ended, " + p.cmd.ProcessState.String())
	default:
		return nil
	}
}

// count returns how many log lines contain all of the words.
func (p *labProcess) count(words ...string) int {
	data, _ := os.ReadFile(p.log)
	n := 0
line:
	for line := range strings.Lines(string(data)) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue line
			}
		}
		n++
	}
	return n
}

// resident returns the resident memory of the process in KiB.
func (p *labProcess) resident(t *testing.T) int { t.Helper(); return p.memory(t, "VmRSS") }

// memory returns a figure of the memory of the process in KiB, by its name in proc(5).
func (p *labProcess) memory(t *testing.T, name string) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), name+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// descriptors returns the number of the process's open files.
func (p *labProcess) descriptors() (int, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(list), err
}

// exitCode ends the program by a signal and returns its exit code.
func (p *labProcess) exitCode(t *testing.T, sig syscall.Signal) int {
	t.Helper()
	p.end(t, sig)
	return p.cmd.ProcessState.ExitCode()
}

// Exit codes of wirespan.
const (
	exitFailure = 1
	exitUsage   = 2
)

// cleanEnvironment returns the environment without variables that would change an
// agent's settings.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WIRESPAN_") })
}
