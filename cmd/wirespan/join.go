package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/node"
)

const (
	envJoin        = "WIRESPAN_JOIN"
	credentialJoin = "wirespan.join" // of systemd's LoadCredential
	maxTokenFile   = 64 << 10        // bytes; a token has at most 4 KiB, white space aside
)

func (c *cli) join() *cobra.Command {
	noStart := false
	cmd := c.configures(&cobra.Command{
		Use:   "join TOKEN",
		Short: "Make the service join a mesh",
		Long: "Store a join token, the token itself, @FILE or - for standard input, in the state\n" +
			"directory, and start the service, or restart it: the agent joins by the token, and\n" +
			"removes it. Without systemd and the unit, or with settings on the command line or in\n" +
			"the environment, it says how to start the agent. Settings in " + serviceEnvironment + "\n" +
			"apply as they do to the service.",
		Example: "  wirespan join @token",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			own := c.ownSettings()
			if err := adoptEnvironment(); err != nil {
				return err
			}
			running, err := c.storeToken(args[0])
			if err != nil {
				return err
			}
			service := os.Geteuid() == 0 && !own && node.HasService()
			if !service || noStart || running && !node.ServiceActive() {
				_, err = fmt.Fprintf(c.out, "The join token is stored. To join, %s\n", startAgent(service, running))
				return err
			}
			return c.startAndJoin(cmd.Context(), running)
		},
		ValidArgsFunction: offerFiles,
	})
	cmd.Flags().BoolVar(&noStart, "no-start", false, "only store the token")
	return cmd
}

// storeToken stores a token for the agent's next start, and reports whether one runs.
func (c *cli) storeToken(arg string) (running bool, err error) {
	t, err := c.joinToken(arg, true)
	if err != nil {
		return false, err
	}
	nc, err := c.nodeConfig()
	if err != nil {
		return false, err
	}
	nc.Token = t
	running, err = node.StoreToken(nc)
	if errors.Is(err, node.ErrTwoClusters) {
		err = usageError{err}
	}
	return running, err
}

// startAndJoin starts the service, now and at each boot, or restarts it.
func (c *cli) startAndJoin(ctx context.Context, running bool) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	fmt.Fprintln(c.out, "The join token is stored. The service starts, and waits for the founder if need be …")
	if err := node.StartService(ctx, running); err != nil {
		return err
	}
	if ctx.Err() != nil {
		_, err := fmt.Fprintln(c.out, "The service goes on waiting: journalctl -u wirespan shows it.")
		return err
	}
	_, err := fmt.Fprintln(c.out, "Joined: wirespan status shows the mesh.")
	return err
}

// startAgent says how to start the agent, or to restart it.
func startAgent(service, running bool) string {
	switch {
	case service && running && node.ServiceActive():
		return "restart the agent: systemctl restart wirespan"
	case service && !running:
		return "start the agent: systemctl enable --now wirespan"
	case running:
		return "restart the agent"
	}
	return "start the agent: wirespan up"
}

// joinToken finds the token: the flag's, the environment's or a credential;
// nil if there is none. One that is given but empty is a mistake (a variable
// that was not set, say), which must not found a mesh by accident.
func (c *cli) joinToken(flag string, given bool) (*config.Token, error) {
	arg := flag
	if env, ok := os.LookupEnv(envJoin); ok && !given {
		arg, given = env, true
	}
	if path, ok := credential(credentialJoin); ok && !given {
		arg, given = "@"+path, true
	}
	if !given {
		return nil, nil
	}
	if strings.TrimSpace(arg) == "" {
		return nil, usageError{fmt.Errorf("join token: empty (--join or %s is given without one)", envJoin)}
	}
	text, err := c.readToken(arg)
	if err != nil {
		return nil, fmt.Errorf("join token: %w", err)
	}
	t, err := config.ParseToken(text)
	return &t, err
}

// readToken reads a token given as such, as @FILE, or - for standard input.
func (c *cli) readToken(arg string) (string, error) {
	var in io.Reader
	switch {
	case arg == "-":
		in = c.in
	case strings.HasPrefix(arg, "@"):
		f, err := os.Open(arg[1:])
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	default:
		return arg, nil
	}
	data, err := io.ReadAll(io.LimitReader(in, maxTokenFile+1))
	if err == nil && len(data) > maxTokenFile {
		err = errors.New("too large to be one")
	}
	return string(data), err
}
