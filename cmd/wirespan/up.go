package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/device/memory"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) up() *cobra.Command {
	var join string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the agent, in the foreground",
		Long: "Run the agent, in the foreground.\n\n" +
			"Without a configuration that names a cluster, the first box founds one: it runs\n" +
			"the discovery server and gives a join token for the next. With --join a box joins\n" +
			"that cluster: it waits for the founder's server, which admits it. Both are kept in\n" +
			"the state directory, so that wirespan up, with the same token or without, continues\n" +
			"from then on.",
		Example: "  wirespan up\n" +
			"  wirespan up --join @token\n" +
			"  wirespan up -c talos-machine.yaml -c wirespan.yaml",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := c.joinToken(join, cmd.Flags().Changed("join"))
			if err != nil {
				return err
			}
			return c.runAgent(cmd.Context(), token, func(*node.Config) {})
		},
	}
	cmd.Flags().StringVar(&join, "join", "", "join the cluster of this token: the token, @FILE, or - for standard input ("+envJoin+")")
	return c.configures(cmd)
}

// runAgent runs a node, as complete makes it, until ctx is done or the node has
// left.
func (c *cli) runAgent(ctx context.Context, token *config.Token, complete func(*node.Config)) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // from the start: by default it kills
	defer signal.Stop(hangups)
	signal.Ignore(syscall.SIGPIPE) // of a log whose reader has gone
	nc, err := c.nodeConfig()
	if err != nil {
		return err
	}
	nc.Load, nc.Files, nc.Hangups, nc.Token = c.load, c.sources(), hangups, token
	nc.ShowToken, nc.Exclusive = c.showToken, true
	nc.Command = forClients(len(c.files) == 0 && nc.Config.ControlSocket == "")
	complete(&nc)
	defer memory.Tune(nc.Config.MemoryBudget, nc.Log).Close()
	ctx, stop := untilSignal(ctx)
	defer stop()
	n, err := node.Open(ctx, nc)
	if errors.Is(err, node.ErrTwoClusters) {
		return usageError{err}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // stopped while it waited for the founder
	}
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

// nodeConfig reads the configuration.
func (c *cli) nodeConfig() (node.Config, error) {
	cfg, err := c.load()
	if err != nil {
		return node.Config{}, err
	}
	log := newLogger(cfg.Logging, c.err)
	// net/http has no other logger for its HTTP/2 client, which complains of each frame
	// that a strange server sends.
	stdlog.SetFlags(0)
	stdlog.SetOutput(log.StandardWriter(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}))
	for _, path := range c.exposed {
		log.Warn("configuration with the cluster's secret is readable by others: chmod 600 it", "file", path)
	}
	return node.Config{Config: cfg, Version: version(), Built: built(), Log: log}, nil
}

// showToken shows a join token on a terminal, if there is one.
func (c *cli) showToken(token string) bool {
	if !isTerminal(c.out) {
		return false
	}
	fmt.Fprintf(c.out, "To add another box to this mesh, run there:\n\n    wirespan up --join %s\n\n", token)
	return true
}

func newLogger(l config.Logging, w io.Writer) hclog.Logger {
	o := hclog.LoggerOptions{Name: "wirespan", Level: hclog.LevelFromString(l.Level), JSONFormat: l.JSON, Output: w}
	if isJournal(w) {
		o.Output, o.DisableTime = journalOutput(w), true
	}
	return hclog.New(&o)
}
