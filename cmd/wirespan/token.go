//go:build !edge

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/control"
	"github.com/wirespan/wirespan/mesh/node"
)

func (c *cli) token() *cobra.Command {
	uses, lifetime := 1, seconds(24*time.Hour)
	cmd := c.configures(&cobra.Command{
		Use:   "token",
		Short: "Make a join token, on the founder of a mesh",
		Long: "Make a join token, on the founder of a mesh.\n\n" +
			"With it one box, or as many as --uses says, can join until it expires. It holds a\n" +
			"key for that and no secret of the mesh. A box that has joined does not need it any\n" +
			"more. Without an agent running, the state directory is used.",
		Example: "  wirespan token | ssh box2 wirespan up --join -\n" +
			"  (umask 077; wirespan token --uses 20 --expires 1h > token)",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := c.makeToken(cmd.Context(), uses, time.Duration(lifetime))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.out, text)
			return err
		},
	})
	cmd.Flags().IntVar(&uses, "uses", uses, "how many boxes may join with it")
	cmd.Flags().Var(&lifetime, "expires", "how long it can be used")
	return cmd
}

// makeToken asks the agent for a token, or makes it if none runs.
func (c *cli) makeToken(ctx context.Context, uses int, lifetime time.Duration) (string, error) {
	if err := node.CheckToken(uses, lifetime); err != nil {
		return "", usageError{err}
	}
	cl, err := c.client()
	if err != nil {
		return "", err
	}
	text, err := cl.Token(ctx, uses, lifetime)
	if !errors.Is(err, control.ErrNoAgent) {
		return text, err
	}
	nc, err := c.nodeConfig()
	if err != nil {
		return "", err
	}
	return node.Token(nc, uses, lifetime)
}
