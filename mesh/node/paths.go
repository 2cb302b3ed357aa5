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

// StateDir returns the configured state directory or the default: systemd's,
// root's or the user's.
func StateDir(c *config.Config) (string, error) {
	if c.StateDir != "" {
		return c.StateDir, nil
	}
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/wirespan", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "wirespan"), nil
	}
	if home := os.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".local/state/wirespan"), nil
	}
	return "", errors.New("no state directory: HOME is not set (give one with --state-dir, or --state-dir memory)")
}

// ControlSocket returns the configured control socket or the default: below the
// runtime directory of root or of the user or, without one, in the state
// directory.
func ControlSocket(c *config.Config) (string, error) {
	if c.ControlSocket != "" {
		return c.ControlSocket, nil
	}
	if os.Geteuid() == 0 {
		return SystemSocket, nil
	}
	if dir := os.Getenv("RUNTIME_DIRECTORY"); dir != "" {
		return filepath.Join(strings.Split(dir, ":")[0], "wirespan.sock"), nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "wirespan/wirespan.sock"), nil
	}
	dir, err := StateDir(c)
	if err != nil {
		return "", err
	}
	if dir == config.StateMemory {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("wirespan-%d", os.Geteuid()))
	}
	path := filepath.Join(dir, "wirespan.sock")
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("control socket %q: a path of %d bytes, at most %d (choose a shorter one with --control-socket)", path, len(path), maxSocketPath)
	}
	return path, nil
}

// uapiSocket returns where the wg(8) socket of an interface lies.
func uapiSocket(c *config.Config, name string) (string, error) {
	if os.Geteuid() == 0 {
		return filepath.Join(device.UAPIDirectory, name+".sock"), nil
	}
	control, err := ControlSocket(c)
	return filepath.Join(filepath.Dir(control), name+".sock"), err
}
