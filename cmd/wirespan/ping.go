package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/control"
)

func (c *cli) ping() *cobra.Command {
	p := pinging{interval: seconds(time.Second), timeout: seconds(5 * time.Second), size: 56}
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "Send echo requests to a peer through the tunnel",
		Long: "Send ICMPv6 echo requests to a peer's mesh address through the tunnel, by the\n" +
			"agent itself: it works with every data plane and needs no privilege of the host.\n" +
			"PEER is a nodename, a public key, or any address that belongs to the peer.",
		Example: "  wirespan ping node-2\n  wirespan ping -c 1 fd3b:5c11:f7c2:4b02:5054:ff:fe12:3456\n  wirespan ping --size 1372 node-2",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case p.count < 0:
				return usageError{errors.New("--count must not be negative")}
			case p.interval < seconds(10*time.Millisecond):
				return usageError{errors.New("--interval must be at least 10ms")}
			case p.timeout <= 0 || p.timeout > seconds(time.Minute):
				return usageError{errors.New("--timeout must be above 0 and at most 1m")}
			case p.size < minPingSize:
				return usageError{fmt.Errorf("--size must be at least %d bytes, by which a reply is known", minPingSize)}
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
			if most := s.Node.MTU - pingHeaders; p.size > most {
				return usageError{fmt.Errorf("--size %d is too big: the tunnel's MTU is %d, which leaves %d bytes of data", p.size, s.Node.MTU, most)}
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return c.pingPeer(ctx, cl, peer, p)
		},
	}
	cmd.ValidArgsFunction = c.offerPeers()
	cmd.Flags().IntVarP(&p.count, "count", "c", 4, "how many to send; 0: until interrupted")
	cmd.Flags().IntVarP(&p.size, "size", "s", p.size, "bytes of data in each; the packet has 48 more")
	cmd.Flags().VarP(&p.interval, "interval", "i", "time between two, such as 0.2 (seconds) or 200ms")
	cmd.Flags().VarP(&p.timeout, "timeout", "W", "how long to wait for each reply")
	return c.asks(cmd)
}

type pinging struct {
	count, size       int
	interval, timeout seconds
}

const (
	minPingSize = 16 // the data that identifies a request
	pingHeaders = 40 + 8
)

func (c *cli) pingPeer(ctx context.Context, cl *control.Client, peer agent.PeerView, p pinging) error {
	fmt.Fprintf(c.out, "PING %s (%s) with %d bytes of data%s\n", mesh.QuoteName(peer.Name()), peer.Address, p.size, pathText(peer))
	if peer.Path != nil && peer.Path.MTU > 0 && p.size+pingHeaders > peer.Path.MTU {
		fmt.Fprintf(c.out, "packets of %d bytes are larger than the path takes whole: they may be fragmented or lost\n", p.size+pingHeaders)
	}
	var times []time.Duration
	sent := 0
	for ; p.count == 0 || sent < p.count; sent++ {
		if sent > 0 && !sleep(ctx, time.Duration(p.interval)) {
			break
		}
		rtt, err := cl.Ping(ctx, peer.Address, p.size, time.Duration(p.timeout))
		if ctx.Err() != nil {
			break
		}
		var answer *control.Refusal
		switch {
		case err == nil:
			times = append(times, rtt)
			fmt.Fprintf(c.out, "reply from %s: seq=%d time=%s\n", peer.Address, sent+1, rtt.Round(10*time.Microsecond))
		case errors.As(err, &answer) && answer.Code == control.NoReply:
			fmt.Fprintf(c.out, "no reply: seq=%d: %s\n", sent+1, answer.Text)
		default:
			return err
		}
	}
	fmt.Fprintf(c.out, "%d sent, %d received%s\n", sent, len(times), pingSummary(sent, times))
	if len(times) == 0 {
		return silentError{errors.New("no reply")}
	}
	return nil
}

// pathText says by which path a peer is reached; it is empty if that is not known.
func pathText(p agent.PeerView) string {
	if !p.Endpoint.IsValid() {
		return ""
	}
	text := " by " + placeText(p)
	switch {
	case p.Path == nil:
	case !p.Path.Works:
		text += ", which does not answer"
	case p.Path.MTU > 0:
		text += fmt.Sprintf(", which takes packets of %d bytes", p.Path.MTU)
	}
	return text
}

// pingSummary tells loss and round-trip times of echo requests.
func pingSummary(sent int, times []time.Duration) string {
	if sent == 0 {
		return ""
	}
	text := fmt.Sprintf(", %.3g%% lost", 100*float64(sent-len(times))/float64(sent))
	if len(times) == 0 {
		return text
	}
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return text + fmt.Sprintf(", %v/%v/%v min/avg/max", round(slices.Min(times)), round(sum/time.Duration(len(times))), round(slices.Max(times)))
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
