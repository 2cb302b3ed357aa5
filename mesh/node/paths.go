package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/config"
)

const (
	// SystemSocket is the control socket of root's agent, and of any other that may make it.
	SystemSocket  = "/run/wirespan/wirespan.sock"
	maxSocketPath = 107 // bytes, unix(7)
)

// StateDir returns the configured state directory or the default: that of systemd's unit,
// of root or of the user.
func StateDir(c *config.Config) (string, error) { return currentUser().stateDir(c) }

// user is the user and the environment of a process. The default paths depend on them.
type user struct {
	id     int
	getenv func(string) string
	run    string // directory of the system socket's directory
}

func currentUser() user {
	return user{os.Geteuid(), os.Getenv, filepath.Dir(filepath.Dir(SystemSocket))}
}

func (u user) stateDir(c *config.Config) (string, error) {
	if c.StateDir != "" {
		return strings.TrimPrefix(c.StateDir, config.StateMemory+":"), nil
	}
	if dir := u.getenv("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if u.id == 0 {
		return "/var/lib/wirespan", nil
	}
	if dir := u.getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "wirespan"), nil
	}
	if home := u.getenv("HOME"); home != "" {
		return filepath.Join(home, ".local/state/wirespan"), nil
	}
	return "", errors.New("no state directory: HOME is not set (give one with --state-dir, or --state-dir memory)")
}

// ControlSocket returns the configured control socket or the default: the system's if it is
// root's or the user may make it, as in a container; otherwise in the runtime directory of
// systemd's unit or of the user or, without one, in the state directory. That of an agent
// with its state in memory depends on the user alone.
func ControlSocket(c *config.Config) (string, error) { return currentUser().controlSocket(c) }

func (u user) controlSocket(c *config.Config) (string, error) {
	if c.ControlSocket != "" {
		return c.ControlSocket, nil
	}
	if u.id == 0 {
		return SystemSocket, nil
	}
	inMemory := c.StateDir == config.StateMemory
	if dir := u.getenv("RUNTIME_DIRECTORY"); dir != "" && !inMemory {
		return filepath.Join(strings.Split(dir, ":")[0], "wirespan.sock"), nil
	}
	if u.mayOpenSystemSocket() {
		return SystemSocket, nil
	}
	if inMemory {
		return u.memorySocket(), nil
	}
	if dir := u.getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "wirespan/wirespan.sock"), nil
	}
	dir, err := u.stateDir(c)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "wirespan.sock")
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("control socket %q: the path has %d bytes, at most %d are possible (choose a shorter one with --control-socket)", path, len(path), maxSocketPath)
	}
	return path, nil
}

// mayOpenSystemSocket reports whether the directory of the system's socket is this user's, or
// could be. Its answer is the same before an agent makes the directory and after.
func (u user) mayOpenSystemSocket() bool {
	dir := filepath.Join(u.run, filepath.Base(filepath.Dir(SystemSocket)))
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir = u.run
	case err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != u.id:
		return false
	}
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// memorySocket returns the control socket of this user's agent with its state in memory.
func (u user) memorySocket() string { return fmt.Sprintf("/tmp/wirespan-%d/wirespan.sock", u.id) }

// OtherSockets returns where an agent may be that is not at the default ControlSocket: this
// user's own with its state in memory, then root's. In a directory of another user there
// is none of this user's.
func OtherSockets() []string { return currentUser().otherSockets() }

func (u user) otherSockets() []string {
	own := u.memorySocket()
	if foreign(filepath.Dir(own)) {
		return []string{SystemSocket}
	}
	return []string{own, SystemSocket}
}

// uapiSocket returns the path of the wg(8) socket of an interface.
func (u user) uapiSocket(c *config.Config, name string) (string, error) {
	if u.id == 0 {
		return filepath.Join(device.UAPIDirectory, name+".sock"), nil
	}
	control, err := u.controlSocket(c)
	return filepath.Join(filepath.Dir(control), name+".sock"), err
}
