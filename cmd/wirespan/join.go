package main

import (
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
	return c.configures(&cobra.Command{
		Use:   "join TOKEN",
		Short: "Let the agent join a mesh when it starts",
		Long: "Store a join token, the token itself, @FILE or - for standard input, in the state\n" +
			"directory. The agent joins by it when it starts next, as a service or by wirespan\n" +
			"up, and removes it when it has joined.",
		Example: "  wirespan join @token && systemctl enable --now wirespan",
		Args:    arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := c.joinToken(args[0], true)
			if err != nil {
				return err
			}
			nc, err := c.nodeConfig()
			if err != nil {
				return err
			}
			nc.Token = t
			running, err := node.StoreToken(nc)
			if errors.Is(err, node.ErrTwoClusters) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.out, "The join token is stored. To join, %s\n", startAgent(running))
			return err
		},
		ValidArgsFunction: offerFiles,
	})
}

// startAgent says how to start the agent, or to restart it.
func startAgent(running bool) string {
	_, err := os.Stat("/run/systemd/system") // sd_booted(3)
	service := err == nil && os.Geteuid() == 0
	switch {
	case service && running:
		return "restart the agent: systemctl restart wirespan"
	case service:
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
