package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/control"
)

func (c *cli) nc() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nc NODE PORT",
		Short: "Connect standard input and output to a TCP port in the mesh",
		Long: "Connect standard input and output to a TCP port in the mesh, for ssh's\n" +
			"ProxyCommand, say. NODE is a nodename, a name such as node-2.mesh, or an address.\n" +
			"It ends when the other side has closed the connection.",
		Example: "  wirespan nc node-2 80\n  ssh -o ProxyCommand='wirespan nc %h %p' user@node-2",
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			port, err := strconv.ParseUint(args[1], 10, 16)
			if err != nil || port == 0 {
				return usageError{fmt.Errorf("%q is not a port number (1 to 65535)", args[1])}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			conn, err := connect(ctx, cl, args[0], args[1])
			if err != nil {
				return err
			}
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			err = c.relay(conn)
			if ctx.Err() != nil {
				return silentError{ctx.Err()}
			}
			return err
		},
	}
	cmd.ValidArgsFunction = c.offerPeers()
	return c.asks(cmd)
}

// connect connects to a port in the mesh: with a TUN by the kernel, which needs no
// permission of the agent, and else through the agent.
func connect(ctx context.Context, cl *control.Client, host, port string) (net.Conn, error) {
	s, err := cl.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Backend != "tun" {
		return cl.Connect(ctx, net.JoinHostPort(host, port))
	}
	addrs, err := cl.Lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, a := range addrs {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port))
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// relay copies standard input to a connection, and the connection to standard output until
// it ends.
func (c *cli) relay(conn net.Conn) error {
	go func() { // ends with the process: a read of standard input can't be stopped
		_, _ = io.Copy(conn, c.in)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err := io.Copy(c.out, conn)
	return err
}
