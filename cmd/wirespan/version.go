package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  wirespan version",
		Args:    arguments(0, 0),
		RunE:    func(*cobra.Command, []string) error { return c.printVersion() },
	}
}

// versionFlag adds --version to the root command.
func (c *cli) versionFlag(root *cobra.Command) {
	show, otherwise := false, root.RunE
	root.Flags().BoolVar(&show, "version", false, "print the version")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if show {
			return c.printVersion()
		}
		return otherwise(cmd, args)
	}
}

func (c *cli) printVersion() error {
	_, err := fmt.Fprintf(c.out, "wirespan %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version is the module's, as the Go toolchain stamped it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
