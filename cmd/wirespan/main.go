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

func run(ctx context.Context, args []string, std stdio) int {
	root := newRoot(std)
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

func newRoot(std stdio) *cobra.Command {
	c := newCLI(std)
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
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(printHelp)
	root.SetUsageFunc(usage)
	root.SetHelpCommand(help(root))
	c.versionFlag(root)
	root.AddCommand(
		c.up(), c.join(), c.down(), c.reload(), c.status(), c.get(), c.explain(), c.accept(), c.forget(), c.expel(), c.secret(), c.authority(), c.ping(), c.nc(), c.exec(), c.netcheck(), c.wait(),
		c.token(), c.firewall(),
		c.gen(), c.validate(), c.discovery(), c.bench(), c.device(), c.demo(), c.version(),
	)
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
