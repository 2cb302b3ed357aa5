package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/config"
)

const (
	// SystemSocket is the control socket of root's agent.
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
}

func currentUser() user { return user{os.Geteuid(), os.Getenv} }

func (u user) stateDir(c *config.Config) (string, error) {
	if c.StateDir != "" {
		return c.StateDir, nil
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

// ControlSocket returns the configured control socket or the default: in the runtime
// directory of root, of systemd's unit or of the user or, without one, in the state
// directory. That of an agent with its state in memory depends on the user alone.
func ControlSocket(c *config.Config) (string, error) { return currentUser().controlSocket(c) }

func (u user) controlSocket(c *config.Config) (string, error) {
	if c.ControlSocket != "" {
		return c.ControlSocket, nil
	}
	if u.id == 0 {
		return SystemSocket, nil
	}
	if c.StateDir == config.StateMemory {
		return u.memorySocket(), nil
	}
	if dir := u.getenv("RUNTIME_DIRECTORY"); dir != "" {
		return filepath.Join(strings.Split(dir, ":")[0], "wirespan.sock"), nil
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
