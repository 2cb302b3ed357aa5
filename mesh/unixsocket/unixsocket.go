// Package unixsocket opens listening unix sockets to which only their owner
// can connect.
//
// [Listen] sets the mode before the socket gets its name, so there is no moment at
// which another user could connect, whatever the umask. A socket file that a
// program left behind when it was killed is replaced; a file of any other kind,
// and a socket on which a program answers, stay as they are.
//
// Limits: the package does not check who may write to the directory. A caller
// whose directory could be writable by others has to check that first. Two
// programs that open the same path at the same moment can both find it stale;
// then the later one has the name.
//
// Ownership: no goroutine and no state. The listener belongs to the caller, and
// removes its file when it is closed.
package unixsocket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrInUse reports that another program answers on the path.
	ErrInUse = errors.New("another program answers on it")
	// ErrNotSocket reports that the path names something that is not a socket.
	ErrNotSocket = errors.New("something else is there")
)

const (
	directoryMode = 0o755
	socketMode    = 0o600
	dialTimeout   = time.Second
)

// Listen opens a unix socket at path, with mode 0600, and makes its directory if
// there is none. It fails with [ErrInUse], [ErrNotSocket] or an error of the kernel.
// No error contains the path: the caller adds it, with the purpose of the socket.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), directoryMode); err != nil {
		return nil, cause(err)
	}
	if err := RemoveStale(path); err != nil {
		return nil, err
	}
	// The kernel gives the mode that the socket has before bind(2) to its file.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var modeErr error
		err := c.Control(func(fd uintptr) { modeErr = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, modeErr)
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, cause(err)
	}
	return l.(*net.UnixListener), nil
}

// RemoveStale removes the socket file at path if the kernel says that no program listens
// on it. It fails with [ErrInUse] or [ErrNotSocket], or if it cannot remove the file. If
// nothing is there, or it cannot tell, it does nothing: a later bind(2) then says why. No
// error contains the path.
func RemoveStale(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return ErrNotSocket
	}
	c, err := net.DialTimeout("unix", path, dialTimeout)
	switch {
	case err == nil:
		_ = c.Close()
		return ErrInUse
	case errors.Is(err, unix.ECONNREFUSED):
		return cause(os.Remove(path))
	}
	return nil // nothing is there, or bind(2) will fail and say why
}

// cause returns the kernel's error number inside err if there is one: without
// operation and path, which the caller adds.
func cause(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}
