package control

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh/unixsocket"
)

const group = "wirespan" // its members may read, if it exists and no other is configured

// Open makes the socket. A stale one is replaced; one that answers is an error,
// [unixsocket.ErrInUse], and so is a directory in which others could replace it.
func Open(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	l, err := listen(c.Path)
	switch {
	case errors.Is(err, unixsocket.ErrInUse):
		return nil, fmt.Errorf("control socket %q: %w (give this one its own with --control-socket)", c.Path, err)
	case err != nil:
		return nil, fmt.Errorf("control socket %q: %w (choose another with --control-socket)", c.Path, err)
	}
	if err := admit(c); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket %q: %w", c.Path, err), l.Close())
	}
	return &Server{cfg: c, listener: newListener(l)}, nil
}

// admit lets others than the owner connect: those of a group, and those whom the mode
// admits. A group that was not asked for admits nobody where it can't be set.
func admit(c Config) error {
	gid, err := findGroup(cmp.Or(c.Group, group))
	if err == nil {
		err = os.Chown(c.Path, -1, gid)
	}
	if err != nil && c.Group != "" {
		return fmt.Errorf("group %q: %w (choose another with --control-socket-group)", c.Group, bare(err))
	}
	mode := c.Mode
	if mode == 0 && err == nil {
		mode = 0o660
	}
	if mode == 0 {
		return nil
	}
	return bare(os.Chmod(c.Path, mode))
}

// findGroup returns the number of a group, which need not have a name.
func findGroup(name string) (int, error) {
	if gid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

func listen(path string) (*net.UnixListener, error) {
	if err := prepareDirectory(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return unixsocket.Listen(path)
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

// bare strips the operation and path that callers already name.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
