package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/memory"
	"github.com/wirespan/wirespan/device/tun"
	"github.com/wirespan/wirespan/mesh/node"
)

// The environment of wireguard-go, which wirespan device shares.
const (
	envTUN        = "WG_TUN_FD"
	envUAPI       = "WG_UAPI_FD"
	envForeground = "WG_PROCESS_FOREGROUND"
	envLogLevel   = "LOG_LEVEL"
)

// firstFD is the first descriptor that is not a standard stream.
const firstFD = 3

// commandLine is the arguments of the command line. Called by one of these
// names, the program is wirespan device: wg-quick(8) has no room for a word more.
func commandLine(argv []string) []string {
	switch filepath.Base(argv[0]) {
	case "wirespan-device", "wireguard-go":
		return append([]string{"device"}, argv[1:]...)
	}
	return argv[1:]
}

func (c *cli) device() *cobra.Command {
	var foreground bool
	cmd := &cobra.Command{
		Use:   "device NAME",
		Short: "Run a WireGuard interface alone, in place of wireguard-go",
		Long: "Run a WireGuard interface alone: no mesh, no configuration file. wg(8) configures it\n" +
			"by " + node.UAPIDirectory + "/NAME.sock. It goes into the background once it is ready, and\n" +
			"ends with a signal, or when its socket or its interface is deleted.\n\n" +
			"Arguments and environment are those of wireguard-go: WG_TUN_FD, WG_UAPI_FD,\n" +
			"WG_PROCESS_FOREGROUND=1, LOG_LEVEL=verbose|error|silent. A link to this program that is\n" +
			"called wireguard-go or wirespan-device is this command, as wg-quick(8) needs it:\n" +
			"WG_QUICK_USERSPACE_IMPLEMENTATION=wirespan-device wg-quick up wg0",
		Example: "  wirespan device wg0\n" +
			"  LOG_LEVEL=verbose wirespan device --foreground wg0",
		Args: arguments(func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			if name := args[0]; name == "" || len(name) >= unix.IFNAMSIZ || strings.ContainsAny(name, "/ \t\n") {
				return fmt.Errorf("%.100q is not the name of an interface", name)
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := c.loadWithoutFiles()
			if err != nil {
				return err
			}
			if !foreground && os.Getenv(envForeground) != "1" {
				return daemonize()
			}
			ready, err := waitingParent()
			if err != nil {
				return err
			}
			return ready.explain(c.runDevice(cmd.Context(), args[0], cfg.MemoryBudget, ready))
		},
	}
	cmd.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in the foreground ("+envForeground+"=1)")
	return cmd
}

// runDevice runs a device until ctx ends, the device does, or its socket is
// removed. None of these is an error.
func (c *cli) runDevice(ctx context.Context, name string, budget int64, ready *readiness) error {
	signal.Ignore(syscall.SIGPIPE) // of a log that nobody reads any more
	ctx, stop := untilSignal(ctx)
	defer stop()
	log := bareLogger(name, c.err)
	defer memory.Tune(budget, log).Close()

	plane, err := bareTUN(name)
	if err != nil {
		return err
	}
	if name, err = plane.Name(); err != nil {
		return errors.Join(fmt.Errorf("name of the interface: %w", err), plane.Close())
	}
	socket, err := openUAPI(name)
	if err != nil {
		return errors.Join(err, plane.Close())
	}
	defer socket.Close()
	dev, err := device.OpenBare(device.Config{TUN: plane, Bind: bind.New(log), Log: log})
	if err != nil {
		return err
	}
	defer dev.Close()
	ctx, stop, err = socket.untilRemoved(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := ready.tell(); err != nil {
		return err
	}
	dev.ServeUAPIListener(ctx, socket)
	return nil
}

// bareTUN makes the interface, or takes that of the environment. Like
// wireguard-go's, its MTU is 1420 until somebody changes it.
func bareTUN(name string) (*tun.TUN, error) {
	const mtu = wireguard.DefaultMTU
	inherited, err := inheritedFD(envTUN)
	if err != nil {
		return nil, err
	}
	if inherited != nil {
		return tun.FromFile(inherited, mtu)
	}
	return tun.Attach(name, mtu)
}

// bareLogger logs as LOG_LEVEL says, for wireguard-go's words for levels.
func bareLogger(name string, w io.Writer) hclog.Logger {
	level := hclog.Error
	switch os.Getenv(envLogLevel) {
	case "verbose", "debug":
		level = hclog.Trace
	case "silent":
		level = hclog.Off
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: level, Output: w})
}

// inheritedFD takes the descriptor whose number is in a variable; nil: none is.
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
