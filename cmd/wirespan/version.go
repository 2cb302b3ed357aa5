package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

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
	edition := ""
	if edgeBuild {
		edition = " (edge build)"
	}
	_, err := fmt.Fprintf(c.out, "wirespan %s%s %s %s/%s\n", version(), edition, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// buildTime is the Unix time of the commit, set by the Makefile. It is empty if go build
// made the program.
var buildTime string

// built returns when the program was made: the time of its commit, so that the same sources
// give the same program. It is zero if neither the Makefile nor Go knew.
func built() time.Time {
	if seconds, err := strconv.ParseInt(buildTime, 10, 64); err == nil && seconds > 0 {
		return time.Unix(seconds, 0)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				t, _ := time.Parse(time.RFC3339, s.Value)
				return t
			}
		}
	}
	return time.Time{}
}

// version is the module's, as the Go toolchain stamped it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
