package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

func (c *cli) ping() *cobra.Command {
	var count int
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "Send echo requests to a peer through the tunnel",
		Long: "Send ICMPv6 echo requests to a peer's mesh address through the tunnel, by the\n" +
			"agent itself: it works with every data plane and needs no privilege of the host.\n" +
			"PEER is a nodename, a public key, or any address that belongs to the peer.",
		Example: "  wirespan ping node-2\n  wirespan ping -n 1 fd3b:5c11:f7c2:4b02:5054:ff:fe12:3456",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 0 || interval < 10*time.Millisecond {
				return usageError{errors.New("--count must not be negative and --interval at least 10ms")}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.Status(cmd.Context())
			if err != nil {
				return err
			}
			peer, err := control.FindPeer(s, args[0])
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return c.pingPeer(ctx, cl, peer, pinging{count, interval})
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 4, "how many to send; 0: until interrupted")
	cmd.Flags().DurationVarP(&interval, "interval", "i", time.Second, "time between two")
	return cmd
}

type pinging struct {
	count    int
	interval time.Duration
}

func (c *cli) pingPeer(ctx context.Context, cl *control.Client, peer agent.PeerView, p pinging) error {
	fmt.Fprintf(c.out, "PING %s (%s)\n", peer.Name(), peer.Address)
	sent, received := 0, 0
	for ; p.count == 0 || sent < p.count; sent++ {
		if sent > 0 && !sleep(ctx, p.interval) {
			break
		}
		rtt, err := cl.Ping(ctx, peer.Address)
		if ctx.Err() != nil {
			break
		}
		var answer *control.Refusal
		switch {
		case err == nil:
			received++
			fmt.Fprintf(c.out, "reply from %s: seq=%d time=%s\n", peer.Address, sent+1, rtt.Round(10*time.Microsecond))
		case errors.As(err, &answer) && answer.Code == 504:
			fmt.Fprintf(c.out, "no reply: seq=%d: %s\n", sent+1, answer.Text)
		default:
			return err
		}
	}
	fmt.Fprintf(c.out, "%d sent, %d received\n", sent, received)
	if received == 0 {
		return silentError{errors.New("no reply")}
	}
	return nil
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
