package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const controlGroup = "wirespan" // its members may read, if it exists

// ErrSocketInUse says that another agent serves the control socket.
var ErrSocketInUse = errors.New("another agent answers on it")

// OpenControl makes the socket. A stale one is replaced; one that answers is
// an error, and so is a directory in which others could replace it.
func OpenControl(c ControlConfig) (*Control, error) {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	if err := prepareDirectory(filepath.Dir(c.Path)); err != nil {
		return nil, fmt.Errorf("control socket %q: %w (choose another with --control-socket)", c.Path, err)
	}
	if info, err := os.Lstat(c.Path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("control socket %q: something else is there (choose another with --control-socket)", c.Path)
	}
	if conn, err := net.DialTimeout("unix", c.Path, time.Second); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("control socket %q: %w (give this one its own with --control-socket)", c.Path, ErrSocketInUse)
	} else if errors.Is(err, unix.ECONNREFUSED) {
		_ = os.Remove(c.Path)
	}
	// The mode set before bind(2) is the file's from its first moment.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var modeErr error
		err := raw.Control(func(fd uintptr) { modeErr = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, modeErr)
	}}
	l, err := lc.Listen(context.Background(), "unix", c.Path)
	if err != nil {
		return nil, fmt.Errorf("control socket %q: %w (choose another with --control-socket)", c.Path, socketError(err))
	}
	if g, err := user.LookupGroup(controlGroup); err == nil {
		gid, _ := strconv.Atoi(g.Gid)
		if os.Chown(c.Path, -1, gid) == nil {
			_ = os.Chmod(c.Path, 0o660)
		}
	}
	return &Control{cfg: c, listener: newControlListener(l.(*net.UnixListener))}, nil
}

// prepareDirectory makes dir if it isn't there. One that is must belong to root
// or to us, and let nobody else replace what lies in it.
func prepareDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return bare(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return bare(err)
	}
	uid := info.Sys().(*syscall.Stat_t).Uid
	return checkDirectory(dir, info.Mode(), uid)
}

func checkDirectory(dir string, mode fs.FileMode, uid uint32) error {
	if !isOwner(uid) {
		return fmt.Errorf("the directory %s belongs to another user, uid %d, who could replace the socket", dir, uid)
	}
	if mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("the directory %s is writable by others (mode %04o), who could replace the socket: chmod go-w it", dir, mode.Perm())
	}
	return nil
}

func socketError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// bare strips the operation and path that callers already name.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
