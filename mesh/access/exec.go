//go:build !edge

package access

import (
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes of a shell: for a command that can't be run or does not exist, and the first of
// those for commands that a signal ended.
const (
	exitNoPermission = 126
	exitNotFound     = 127
	exitSignal       = 128
)

// Exec is a command that uses a proxy.
type Exec struct {
	Args     []string // the command first
	Proxy    Private
	In       io.Reader
	Out, Err io.Writer
	Terminal bool // In is the terminal of this process group
}

// Run runs the command to its end, passes signals on, and returns its exit code. The error
// says why it could not be run.
func (e Exec) Run() (code int, err error) {
	child := exec.Command(e.Args[0], e.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = e.In, e.Out, e.Err
	child.Env = append(withoutProxies(os.Environ()), e.Proxy.variables()...)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, append([]os.Signal{syscall.SIGINT, syscall.SIGQUIT}, passedOn...)...)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return exitNoPermission, err
		}
		return exitNotFound, err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case s := <-signals:
			// Of the terminal's signals the child got its own.
			if !e.Terminal || s != syscall.SIGINT && s != syscall.SIGQUIT {
				_ = child.Process.Signal(s) // it may have ended
			}
		case err := <-ended:
			return exitCode(err)
		}
	}
}

// passedOn are the signals that a child gets from its parent only.
var passedOn = []os.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCONT}

// exitCode returns the exit code of a command whose Wait returned err.
func exitCode(err error) (int, error) {
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return 0, err
	}
	if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signal() > 0 {
		return exitSignal + int(status.Signal()), nil
	}
	return ended.ExitCode(), nil
}

// variables are what programs look for. Some know only names in lower case.
func (p Private) variables() (env []string) {
	at := func(scheme string) string {
		return (&url.URL{Scheme: scheme, User: url.UserPassword(p.User, p.Password), Host: p.Address}).String()
	}
	for name, value := range map[string]string{
		"ALL_PROXY": at("socks5h"), "HTTP_PROXY": at("http"), "HTTPS_PROXY": at("http"), "NO_PROXY": "localhost,127.0.0.1,::1",
	} {
		env = append(env, name+"="+value, strings.ToLower(name)+"="+value)
	}
	return env
}

// withoutProxies returns an environment without variables of proxies, which might lead past
// the mesh.
func withoutProxies(env []string) (out []string) {
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		switch strings.ToUpper(name) {
		case "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY":
			continue
		}
		out = append(out, e)
	}
	return out
}
