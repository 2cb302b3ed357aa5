package standalone

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Environment variables, which are wireguard-go's.
const (
	EnvTUN        = "WG_TUN_FD"             // number of an open TUN descriptor
	EnvUAPI       = "WG_UAPI_FD"            // number of a listening unix socket
	EnvForeground = "WG_PROCESS_FOREGROUND" // "1": stay in the foreground; for programs to check before Daemonize
	EnvLogLevel   = "LOG_LEVEL"             // verbose, error or silent
)

// firstFD is the first descriptor that is not a standard stream.
const firstFD = 3

// inheritedFD returns the file of the descriptor whose number is in a variable, or
// nil if the variable is empty or not set.
func inheritedFD(variable string) (*os.File, error) {
	value := os.Getenv(variable)
	if value == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n < firstFD {
		return nil, fmt.Errorf("%s=%.20q is not the number of a descriptor", variable, value)
	}
	fd := int(n)
	// Non-blocking, so that the runtime can wait for it.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("%s=%d: %w", variable, fd, err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), variable), nil
}

// newLogger returns a logger with the level that EnvLogLevel names in
// wireguard-go's words. Without one it logs errors.
func newLogger(name string, w io.Writer) hclog.Logger {
	level := hclog.Error
	switch os.Getenv(EnvLogLevel) {
	case "verbose", "debug":
		level = hclog.Trace
	case "silent":
		level = hclog.Off
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: level, Output: w})
}
