package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Roles of child processes.
const (
	roleEngine = "engine"
	roleAgent  = "agent"
	roleDevice = "device"
	roleRelay  = "relay"
)

const (
	// inherited is the descriptor of the socket to the parent, in a child.
	inherited = 3
	// maxTail is how many bytes of a process's output are kept to explain its end.
	maxTail = 4 << 10
)

// Child is the body of a child process in a role. It ends when its parent does.
func Child(ctx context.Context, role string) error {
	w, err := parent()
	if err != nil {
		return err
	}
	defer w.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = w.conn.Close() })
	defer stop()
	switch role {
	case roleEngine:
		return serveEngine(ctx, w)
	case roleAgent:
		return serveAgent(ctx, w)
	case roleDevice:
		return serveDevice(w)
	case roleRelay:
		return serveRelay(ctx, w)
	}
	return fmt.Errorf("benchmark child %q: there is no such role", role)
}

// parent takes the socket that the parent left. A socket that another user's
// process made is refused, as is anything that is not one.
func parent() (*wire, error) {
	domain, err := unix.GetsockoptInt(inherited, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return nil, errors.New("this command is only for the benchmark itself, which starts it")
	}
	cred, err := unix.GetsockoptUcred(inherited, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(cred.Uid) != os.Geteuid() {
		return nil, errors.New("this command is only for the benchmark itself, which starts it")
	}
	unix.CloseOnExec(inherited)
	return newWire(os.NewFile(inherited, "parent"))
}

// wire is a socket that carries JSON values between parent and child.
type wire struct {
	conn net.Conn
	enc  *json.Encoder
	dec  *json.Decoder
}

func newWire(f *os.File) (*wire, error) {
	conn, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, fmt.Errorf("socket between benchmark processes: %w", err)
	}
	return &wire{conn, json.NewEncoder(conn), json.NewDecoder(conn)}, nil
}

// child is a child process of this program.
type child struct {
	*wire
	cmd    *exec.Cmd
	output *tail
	exited chan struct{} // closed when it has ended
	err    error         // how it ended; read it after exited
}

// spawn starts this program as a child in a role. The clone flags say which
// namespaces are new. The kernel kills the child when the calling process dies.
func spawn(self []string, role string, flags uintptr, env []string) (*child, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket between benchmark processes: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "child")
	defer theirs.Close()
	w, err := newWire(os.NewFile(uintptr(pair[0]), "parent"))
	if err != nil {
		return nil, err
	}
	argv := append(append([]string{}, self...), role)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(os.Environ(), env...)
	c := &child{wire: w, cmd: cmd}
	c.exited = make(chan struct{})
	if c.output, err = start(cmd, flags); err != nil {
		_ = w.conn.Close()
		return nil, fmt.Errorf("start the benchmark's %s: %w", role, err)
	}
	go func() {
		c.err = ended(role, cmd.Wait(), c.output)
		_ = c.conn.Close() // ends calls that wait for an answer
		close(c.exited)
	}()
	return c, nil
}

// start starts cmd as a process that dies with this one, and keeps the end of its
// output. It has a process group of its own, so that Ctrl-C reaches only the
// caller.
func start(cmd *exec.Cmd, flags uintptr) (*tail, error) {
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return out, cmd.Start()
}

// ended returns an error that says how a process ended.
func ended(name string, err error, output *tail) error {
	how := "ended"
	if err != nil {
		how = err.Error()
	}
	if last := output.lastLine(); last != "" {
		how += ": " + last
	}
	return fmt.Errorf("%s: %s", name, how)
}

// kill ends the child and waits for it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// tail keeps the last bytes written to it.
type tail struct {
	mu   sync.Mutex // guards data
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if extra := len(t.data) - maxTail; extra > 0 {
		t.data = append(t.data[:0], t.data[extra:]...)
	}
	return len(p), nil
}

// lastLine returns the last line that is not blank.
func (t *tail) lastLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.data))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// text returns all bytes that are kept.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}
