// Command wirespan joins hosts into one WireGuard network, compatible with
// Talos Linux' KubeSpan, without a kernel module.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(context.Background(), commandLine(os.Args), stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// untilSignal ends ctx at the first SIGINT or SIGTERM; a second one kills at
// once. Commands call it when they have read their input, which a signal
// should end like any other program's.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// stdio is where a command reads and writes.
type stdio struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// usageError is a mistake in the command line; it exits with 2.
type usageError struct{ error }

// silentError has been told already; it only sets the exit code.
type silentError struct{ error }

// exitError is an exit code, and an error if there is something to say.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

func run(ctx context.Context, args []string, std stdio) int { return newCLI(std).run(ctx, args) }

func (c *cli) run(ctx context.Context, args []string) int {
	std, root := c.stdio, c.root(args)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	var silent silentError
	code := exitFailure
	if own := (exitError{}); errors.As(err, &own) {
		code = own.code
	}
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(std.err, "wirespan: %v\nRun '%s --help' for usage.\n", err, cmd.CommandPath())
		return exitUsage
	case errors.As(err, &silent):
	case isJournal(std.err):
		_, _ = withPriority{std.err, journalPriorities[hclog.Error]}.Write(fmt.Appendf(nil, "wirespan: %v\n", err))
	default:
		fmt.Fprintf(std.err, "wirespan: %v\n", err)
	}
	return code
}

// root makes the commands. If the first argument is the name of one, only that: each
// flag of each command takes memory, which a box at the edge has little of.
func (c *cli) root(args []string) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "wirespan",
		Short: "A userspace WireGuard mesh, compatible with Talos KubeSpan",
		Long: "Wirespan joins hosts into one WireGuard network: one static binary, no kernel\n" +
			"module. It speaks KubeSpan's protocols, so that a Talos cluster and ordinary\n" +
			"boxes can share one mesh.",
		Example: "  wirespan up                      # found a mesh; shows how the next joins\n" +
			"  wirespan up --join wirespan2.…   # join it\n" +
			"  wirespan status",
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(printHelp)
	root.SetUsageFunc(usage)
	root.SetHelpCommand(help(root))
	c.versionFlag(root)
	commands := append(c.commands(), c.fullCommands()...)
	for _, m := range commands {
		if len(args) > 0 && m.name == args[0] {
			root.AddCommand(m.make())
			return root
		}
	}
	for _, m := range commands {
		root.AddCommand(m.make())
	}
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		group(completion).Example = "  source <(wirespan completion bash)"
		for _, shell := range completion.Commands() {
			shell.Args = arguments(0, 0)
			shell.Example = "  wirespan completion " + shell.Name()
		}
	}
	offerNoFiles(root)
	return root
}

// command is a command that is made when it is needed.
type command struct {
	name string
	make func() *cobra.Command
}

// commands are those of every build.
func (c *cli) commands() []command {
	return []command{
		{"up", c.up},
		{"join", c.join},
		{"down", c.down},
		{"reload", c.reload},
		{"status", c.status},
		{"get", c.get},
		{"explain", c.explain},
		{"accept", c.accept},
		{"forget", c.forget},
		{"ping", c.ping},
		{"nc", c.nc},
		{"netcheck", c.netcheck},
		{"wait", c.wait},
		{"firewall", c.firewall},
		{"gen", c.gen},
		{"validate", c.validate},
		{"device", c.device},
		{"version", c.version},
	}
}
