//go:build !edge

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/access"
	"github.com/wirespan/wirespan/mesh/control"
)

func (c *cli) exec() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec COMMAND [ARGUMENT...]",
		Short: "Run a command whose connections go through the mesh",
		Long: "Run a command with a proxy of its own: ALL_PROXY, HTTP_PROXY, HTTPS_PROXY and\n" +
			"NO_PROXY are set, which most programs that speak HTTP, and many others, respect.\n" +
			"The proxy has a random password and ends with the command. What it lets through\n" +
			"beyond the mesh is the agent's setting proxy.egress. Signals and the exit code are\n" +
			"those of the command.",
		Example: "  wirespan exec -- curl http://node-2:8080/\n  wirespan exec -- pip install --index-url http://pypi.mesh/simple package",
		Args:    arguments(1, 1<<20),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return cl.Proxy(cmd.Context(), func(p control.ProxyReply) error {
				x := access.Exec{Args: args, Proxy: access.Private{Address: p.Address, User: p.User, Password: p.Password}, In: c.in, Out: c.out, Err: c.err, Terminal: isTerminal(c.in)}
				code, err := x.Run()
				switch {
				case err != nil:
					return exitError{err, max(code, exitFailure)}
				case code != 0:
					return exitError{silentError{errors.New("the command failed")}, code}
				}
				return nil
			})
		},
	}
	cmd.Flags().SetInterspersed(false)
	return c.asks(cmd)
}
