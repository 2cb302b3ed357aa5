package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/standalone"
	"github.com/wirespan/wirespan/mesh"
)

// commandLine returns the arguments of the command line. Called by one of these
// names, the program is wirespan device: wg-quick(8) takes the name of a program,
// and no arguments.
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
			"by " + device.UAPIDirectory + "/NAME.sock. It goes into the background once it is ready, and\n" +
			"ends with a signal, or when its socket or its interface is deleted.\n\n" +
			"Arguments and environment are those of wireguard-go: " + standalone.EnvTUN + ", " + standalone.EnvUAPI + ",\n" +
			standalone.EnvForeground + "=1, " + standalone.EnvLogLevel + "=verbose|error|silent. A link to this program that is\n" +
			"called wireguard-go or wirespan-device is this command, as wg-quick(8) needs it:\n" +
			"WG_QUICK_USERSPACE_IMPLEMENTATION=wirespan-device wg-quick up wg0",
		Example: "  wirespan device wg0\n" +
			"  LOG_LEVEL=verbose wirespan device --foreground wg0",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name := args[0]; name == "" || len(name) > mesh.MaxInterfaceName || strings.ContainsAny(name, "/ \t\n") {
				return usageError{fmt.Errorf("%.100q is not the name of an interface", name)}
			}
			cfg, err := c.loadSettings("memoryBudget")
			if err != nil {
				return err
			}
			if !foreground && os.Getenv(standalone.EnvForeground) != "1" {
				return standalone.Daemonize()
			}
			return c.runDevice(cmd.Context(), standalone.Config{Name: args[0], MemoryBudget: cfg.MemoryBudget, Log: c.err})
		},
	}
	cmd.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in the foreground ("+standalone.EnvForeground+"=1)")
	return c.takes(cmd, "memoryBudget")
}

// runDevice runs an interface until a signal comes or the interface ends.
func (c *cli) runDevice(ctx context.Context, cfg standalone.Config) error {
	signal.Ignore(syscall.SIGPIPE) // a log whose reader has ended must not end the process
	ctx, stop := untilSignal(ctx)
	defer stop()
	err := standalone.Run(ctx, cfg)
	if errors.As(err, new(standalone.ReportedError)) {
		return silentError{err} // the parent process shows it
	}
	return err
}
