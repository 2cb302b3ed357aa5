package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// Limits of a client.
const (
	MaxPeers  = 256  // of SetPeers
	MaxPacket = 1600 // bytes of a packet that is relayed
	maxHeard  = 64   // peers that were not named, and sent something
)

// Config is what a client needs to know.
type Config struct {
	// Dial connects to the server: UDP (a connected socket, used as a burst.Socket if it is one),
	// TCP or TLS. Each allocation dials anew.
	Dial func(context.Context) (net.Conn, error)
	// Stream is whether the connection is a stream.
	Stream bool
	// Credentials returns what to present now. The time is the server's, if that tells it, as
	// our own do; else zero. Nothing authenticates it.
	Credentials func(server time.Time) Credentials
	// Receive takes what a peer has sent. It is called from one goroutine at a time, and must
	// not keep the bytes.
	Receive func(b []byte, from netip.AddrPort)
	// Family6 asks for an IPv6 address; otherwise it is IPv4.
	Family6 bool
	// Keepalive is how often the allocation is refreshed at least, which also holds a NAT's
	// mapping and notices a dead server; 0: 20 s.
	Keepalive time.Duration
}

// Client keeps an allocation. Use New.
type Client struct {
	cfg     Config
	changed mesh.Signal
	wake    mesh.Signal

	status  atomic.Pointer[Status]
	ready   atomic.Pointer[session] // the one that has an address
	check   atomic.Bool
	count   counters
	packets sync.Pool // of *packet
	runs    sync.Pool // of *burst.Run
	// unanswered is when an initiation was sent since which nothing came; nanoseconds, 0: none was.
	unanswered atomic.Int64

	mu   sync.Mutex
	want []netip.AddrPort // sorted; replaced, never written to

	auth  turn.Auth // of the last session; Run's
	clock clock     // likewise, of the server
}

// counters are those of Counters.
type counters struct {
	sent, received, sentBytes, receivedBytes, allocations atomic.Uint64
	noAddress, noPermission, full, tooLarge               atomic.Uint64
	asked, answered                                       atomic.Uint64 // requests, each time that they were sent, and answers
}

// New returns a client. It does nothing until Run.
func New(cfg Config) (*Client, error) {
	if cfg.Dial == nil || cfg.Credentials == nil || cfg.Receive == nil {
		return nil, errors.New("relay: Dial, Credentials and Receive are required")
	}
	cfg.Keepalive = cmp.Or(cfg.Keepalive, 20*time.Second)
	c := &Client{cfg: cfg, changed: mesh.NewSignal(), wake: mesh.NewSignal()}
	c.packets.New = func() any { return new(packet) }
	c.runs.New = func() any { return burst.NewRun() }
	c.status.Store(&Status{})
	return c, nil
}

// Changed receives after Snapshot has changed; times alone are no change.
func (c *Client) Changed() <-chan struct{} { return c.changed }

// Snapshot returns what is known of the allocation.
func (c *Client) Snapshot() Status { return *c.status.Load() }

// Counters returns what was done.
func (c *Client) Counters() Counters {
	n := &c.count
	return Counters{
		Sent: n.sent.Load(), Received: n.received.Load(), SentBytes: n.sentBytes.Load(), ReceivedBytes: n.receivedBytes.Load(),
		DroppedNoAddress: n.noAddress.Load(), DroppedNoPermission: n.noPermission.Load(), DroppedFull: n.full.Load(),
		DroppedTooLarge: n.tooLarge.Load(), Allocations: n.allocations.Load(),
	}
}

// SetPeers names the addresses of all peers. Those of the other family than the relayed
// address's, and those beyond MaxPeers, are left out.
func (c *Client) SetPeers(peers []netip.AddrPort) {
	want := make([]netip.AddrPort, 0, min(len(peers), MaxPeers))
	for _, p := range peers {
		if a := p.Addr().Unmap().WithZone(""); a.IsValid() && a.Is6() == c.cfg.Family6 && p.Port() != 0 && len(want) < MaxPeers {
			want = append(want, netip.AddrPortFrom(a, p.Port()))
		}
	}
	sort.Slice(want, func(i, j int) bool { return want[i].Compare(want[j]) < 0 })
	c.mu.Lock()
	c.want = slices.Compact(want)
	c.mu.Unlock()
	c.wake.Notify()
}

// Check asks the server at once whether it is there, as when no packet came for a while. Over UDP
// it is given up after 2.5 s without an answer, over a stream after 4 s; then a new allocation is
// tried. An answer holds for a second.
func (c *Client) Check() {
	c.check.Store(true)
	c.wake.Notify()
}

// unansweredTime is how long nothing comes after an initiation until the next one checks the server.
const unansweredTime = 3 * time.Second

// initiated notes that a handshake was started, which calls for an answer.
func (c *Client) initiated(now time.Time) {
	at := c.unanswered.Load()
	switch {
	case at == 0:
		c.unanswered.CompareAndSwap(0, now.UnixNano())
	case now.UnixNano()-at >= int64(unansweredTime):
		c.unanswered.Store(now.UnixNano())
		c.Check()
	}
}

func (c *Client) wanted() []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want
}

// dialTimeout is for how long a connection is tried.
const dialTimeout = 10 * time.Second

// Run keeps an allocation until ctx ends, and then gives it back. It is called once.
func (c *Client) Run(ctx context.Context) error {
	var wait backoff
	for ctx.Err() == nil {
		c.publish(Status{State: StateAsking, Err: c.Snapshot().Err})
		began := time.Now()
		err := c.allocate(ctx)
		if ctx.Err() != nil {
			break
		}
		pause := wait.after(err, time.Since(began))
		c.publish(Status{State: StateWaiting, Err: err, Retry: time.Now().Add(pause)})
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	c.publish(Status{})
	return nil
}

// allocate dials, asks for an address, and keeps it until something fails.
func (c *Client) allocate(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := c.cfg.Dial(dialing)
	cancel()
	if err != nil {
		return fmt.Errorf("relay: connecting: %w", err)
	}
	s := newSession(c, conn)
	return s.run(ctx)
}

// backoff says how long to wait after failures.
type backoff struct{ failures int }

// Waits. Where a server refuses, others decide when that changes. A member that has just started
// refuses until it has heard of this node.
const (
	firstWait, lastWait       = 500 * time.Millisecond, 30 * time.Second
	firstRefused, lastRefused = time.Second, 2 * time.Minute
	// settled is how long an allocation lasts that shows that all is well.
	settled = 30 * time.Second
)

func (b *backoff) after(err error, lasted time.Duration) time.Duration {
	if lasted >= settled {
		b.failures = 0
	}
	first, last := firstWait, lastWait
	if refused(err) {
		first, last = firstRefused, lastRefused
	}
	wait := min(first<<min(b.failures, 10), last)
	b.failures++
	return wait*3/4 + rand.N(wait/2)
}

// refused reports whether a server has said no for a reason that is not of one connection.
func refused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code != turn.CodeMismatch && e.Code != turn.CodeStaleNonce
}

// publish stores a status, and notifies if more than times has changed.
func (c *Client) publish(s Status) {
	old := c.status.Swap(&s)
	same := old.State == s.State && old.Relayed == s.Relayed && old.Mapped == s.Mapped && errors.Is(old.Err, s.Err) &&
		old.Permitted == s.Permitted && old.Channels == s.Channels && slices.Equal(old.Refused, s.Refused)
	if !same {
		c.changed.Notify()
	}
}
