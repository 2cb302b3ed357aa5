package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

func (c *cli) wait() *cobra.Command {
	timeout := seconds(time.Minute)
	cmd := &cobra.Command{
		Use:   "wait PEER|all",
		Short: "Wait until a peer, or all known peers, are up",
		Long: "Wait until a peer is up, or until there are peers and all of them are.\n" +
			"PEER is a nodename, a public key, or any address that belongs to the peer;\n" +
			"it need not be known yet. Exits with 1 when the time is over.",
		Example: "  wirespan wait node-2 --timeout 30s\n  wirespan wait all",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return usageError{errors.New("--timeout must not be negative")}
			}
			ctx, cancel := untilSignal(cmd.Context())
			defer cancel()
			if timeout > 0 {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(timeout))
				defer cancel()
			}
			missing, err := c.waitFor(ctx, args[0])
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("waited %s: %s", &timeout, missing)
			}
			if errors.Is(err, context.Canceled) {
				return silentError{err}
			}
			return err
		},
	}
	cmd.ValidArgsFunction = c.offerPeers("all")
	cmd.Flags().Var(&timeout, "timeout", "give up after this time, such as 30 (seconds) or 2m; 0: never")
	return c.asks(cmd)
}

// waitFor follows the status until all that is wanted is up. The agent may come
// up meanwhile, or start again. It returns what was missing last.
func (c *cli) waitFor(ctx context.Context, want string) (missing string, err error) {
	for {
		cl, err := c.client()
		if err != nil {
			return "", err
		}
		up, answered := false, false
		err = cl.WatchStatus(ctx, func(s *agent.Status) (bool, error) {
			missing = control.NotUp(s, want)
			up, answered = missing == "", true
			return !up, nil
		})
		if !answered {
			missing = err.Error()
		}
		var answer *control.Refusal
		switch {
		case up: // also if the time ends at that moment
			return "", nil
		case ctx.Err() != nil:
			return missing, ctx.Err()
		case errors.As(err, &answer), errors.Is(err, fs.ErrPermission):
			return missing, err
		}
		missing = err.Error()
		if !sleep(ctx, waitRetry) {
			return missing, ctx.Err()
		}
	}
}

const waitRetry = 200 * time.Millisecond
