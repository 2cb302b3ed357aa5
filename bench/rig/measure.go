package rig

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/bench/rig/load"
)

const (
	pacedRate     = 1e9 // bit/s
	probeInterval = time.Millisecond
	connects      = 20 // whose median is taken
	headersIPv4   = 28 // IP and UDP
	headersIPv6   = 48
	maxPayload    = 65507 // of a UDP datagram over IPv4
)

// Kinds of measurement: the first parts of their metrics' ids.
const (
	kindHandshake = "connect.handshake"
	kindConnect   = "connect.tcp"
	kindIdle      = "rtt.idle"
	kindLoad      = "rtt.load"
	kindUp        = "tcp.up"
	kindDown      = "tcp.down"
	kindBoth      = "tcp.both"
	kindPaced     = "paced.goodput"
	kindMaxUDP    = "udp.max"
	kindPackets   = "udp.pps"
)

var (
	cpuIDs   = []string{"cpu.client.user", "cpu.client.system", "cpu.server.user", "cpu.server.system"}
	fixedIDs = []string{"mtu", "rss.client", "rss.server"}
)

// measure is one measurement of a run.
type measure struct {
	Kind    string
	Streams int  // in each direction
	Payload int  // of datagrams, in bytes; 0: fill the MTU
	Cost    bool // measure CPU time, too
}

// measures returns the measurements of a run in their order. The handshake comes
// first, and cannot be left out: every other measurement needs a session.
func measures(o *bench.Options, udp bool) []measure {
	list := []measure{{Kind: kindHandshake}, {Kind: kindConnect}, {Kind: kindIdle}}
	for _, kind := range []string{kindUp, kindDown, kindBoth} {
		for i, n := range o.Streams {
			list = append(list, measure{Kind: kind, Streams: n, Cost: kind == kindUp && i == 0})
		}
	}
	list = append(list, measure{Kind: kindLoad}, measure{Kind: kindPaced})
	if udp {
		list = append(list, measure{Kind: kindMaxUDP})
		for _, n := range o.Payloads {
			list = append(list, measure{Kind: kindPackets, Payload: n})
		}
	}
	return slices.DeleteFunc(list, func(m measure) bool {
		return m.Kind != kindHandshake && !slices.ContainsFunc(m.ids(), func(id string) bool { return selected(o, id) })
	})
}

// allIDs returns the ids of all metrics of a local run.
func allIDs(o *bench.Options) []string {
	all := *o
	all.Metrics = nil
	var ids []string
	for _, m := range measures(&all, true) {
		ids = append(ids, m.ids()...)
	}
	return append(ids, fixedIDs...)
}

// MetricNames returns the metrics and groups of metrics that can be selected.
func MetricNames() []string {
	o := DefaultOptions()
	var names []string
	for _, id := range allIDs(&o) {
		for i, r := range id + "." {
			if r == '.' && !slices.Contains(names, id[:i]) {
				names = append(names, id[:i])
			}
		}
	}
	return names
}

// ids returns the ids of the metrics that m measures.
func (m measure) ids() []string {
	switch m.Kind {
	case kindIdle, kindLoad:
		return []string{m.Kind + ".p50", m.Kind + ".p99", m.Kind + ".p999"}
	case kindUp, kindDown, kindBoth:
		ids := []string{m.Kind + "." + strconv.Itoa(m.Streams)}
		if m.Cost {
			ids = append(append(ids, cpuIDs...), "tcp.retransmits")
		}
		return ids
	case kindPackets:
		if m.Payload == 0 {
			return []string{m.Kind + ".mtu"}
		}
		return []string{m.Kind + "." + strconv.Itoa(m.Payload)}
	}
	return []string{m.Kind}
}

// timing says how long a measurement takes, and the tunnel's MTU.
type timing struct {
	Window time.Duration
	MTU    int
}

// warmup returns how long streams run before they are measured.
func (t timing) warmup() time.Duration { return min(t.Window/4, 500*time.Millisecond) }

// step returns how long the search for the highest rate tries each rate.
func (t timing) step() time.Duration { return max(t.Window/3, 50*time.Millisecond) }

// estimate returns how long m takes, roughly.
func (m measure) estimate(window time.Duration) time.Duration {
	const ends = 150 * time.Millisecond
	t := timing{Window: window}
	switch m.Kind {
	case kindHandshake, kindConnect:
		return ends
	case kindIdle, kindPackets:
		return window + ends
	case kindMaxUDP:
		return 8 * (t.step() + ends)
	}
	return window + t.warmup() + 2*ends
}

// outcome is the result of a measurement.
type outcome struct {
	Values map[string]float64
	Bytes  uint64 // carried by streams
}

// run does the measurement with a client.
func (m measure) run(ctx context.Context, c *load.Client, t timing) (outcome, error) {
	switch m.Kind {
	case kindHandshake:
		d, err := c.Connect(ctx)
		return m.one(d.Seconds()), err
	case kindConnect:
		return m.connect(ctx, c)
	case kindIdle:
		trips, err := c.RTT(ctx, probeInterval, t.Window)
		return m.percentiles(trips), err
	case kindLoad:
		return m.loaded(ctx, c, t)
	case kindMaxUDP:
		rate, err := c.MaxUDP(ctx, payload(c, t.MTU), t.step())
		return m.one(rate), err
	case kindPackets:
		size := m.Payload
		if size == 0 {
			size = payload(c, t.MTU)
		}
		r, err := c.UDP(ctx, load.UDP{Payload: size, Duration: t.Window})
		return m.one(r.Packets), err
	}
	return m.streams(ctx, c, t)
}

// one returns the outcome of a measurement with one value.
func (m measure) one(value float64) outcome {
	return outcome{Values: map[string]float64{m.ids()[0]: value}}
}

// payload returns the size of datagrams that fill the MTU.
func payload(c *load.Client, mtu int) int {
	if c.Server.Addr().Is4() {
		return min(mtu-headersIPv4, maxPayload)
	}
	return min(mtu-headersIPv6, maxPayload)
}

func (m measure) streams(ctx context.Context, c *load.Client, t timing) (outcome, error) {
	test := load.TCP{Up: m.Streams, Down: m.Streams, Warmup: t.warmup(), Window: t.Window}
	switch m.Kind {
	case kindUp:
		test.Down = 0
	case kindDown:
		test.Up = 0
	case kindPaced:
		test.Up, test.Down, test.Rate = 1, 0, pacedRate
	}
	r, err := c.TCP(ctx, test)
	if err != nil {
		return outcome{}, err
	}
	o := m.one(r.Up + r.Down)
	o.Bytes = r.Bytes
	if m.Cost && r.Counted {
		o.Values["tcp.retransmits"] = float64(r.Retransmits)
	}
	return o, nil
}

// connect measures the median time of successive connects.
func (m measure) connect(ctx context.Context, c *load.Client) (outcome, error) {
	var took []time.Duration
	for range connects {
		d, err := c.Connect(ctx)
		if err != nil {
			return outcome{}, err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	return m.one(quantile(took, 0.5).Seconds()), nil
}

// loaded measures round trips while one stream runs to the server.
func (m measure) loaded(ctx context.Context, c *load.Client, t timing) (outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := c.TCP(ctx, load.TCP{Up: 1, Warmup: t.warmup(), Window: t.Window}); err != nil {
			cancel(fmt.Errorf("the stream that loads the tunnel: %w", err))
		}
	}()
	defer func() { <-done }()
	timer := time.NewTimer(t.warmup())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return outcome{}, context.Cause(ctx)
	case <-timer.C:
	}
	trips, err := c.RTT(ctx, probeInterval, t.Window)
	if err != nil {
		cancel(err)
		return outcome{}, err
	}
	<-done
	return m.percentiles(trips), context.Cause(ctx)
}

func (m measure) percentiles(trips []time.Duration) outcome {
	if len(trips) == 0 {
		return outcome{}
	}
	return outcome{Values: map[string]float64{
		m.Kind + ".p50":  quantile(trips, 0.5).Seconds(),
		m.Kind + ".p99":  quantile(trips, 0.99).Seconds(),
		m.Kind + ".p999": quantile(trips, 0.999).Seconds(),
	}}
}

// quantile returns the smallest value that at least a share q of all values do not
// exceed. sorted must not be empty.
func quantile(sorted []time.Duration, q float64) time.Duration {
	i := int(q * float64(len(sorted)))
	if float64(i) == q*float64(len(sorted)) {
		i--
	}
	return sorted[min(max(i, 0), len(sorted)-1)]
}
