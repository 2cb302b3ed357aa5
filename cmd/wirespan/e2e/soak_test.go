package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// dataPlaneMegabytes is the memory that a data plane may use at any time.
	dataPlaneMegabytes = 64
	// netstackMegabytes is the same for a netstack: it also holds TCP's buffers and, in
	// the soak, the code of all tests.
	netstackMegabytes = 128
)

// soakStreams is the number of concurrent TCP connections per tunnel.
const soakStreams = 4

// TestSoak runs two tunnels, TUN to TUN and TUN to netstack, over bad paths for
// WIRESPAN_SOAK (a duration) at WIRESPAN_SOAK_RATE megabits per second (40) in total. It
// sends checked TCP streams and datagrams in both directions and both families, while
// the paths change from one family to the other.
func TestSoak(t *testing.T) {
	wanted := os.Getenv("WIRESPAN_SOAK")
	if wanted == "" {
		t.Skip("needs WIRESPAN_SOAK=1h or another duration")
	}
	duration, err := time.ParseDuration(wanted)
	if err != nil {
		t.Fatal(err)
	}
	rate := 40.0
	if v := os.Getenv("WIRESPAN_SOAK_RATE"); v != "" {
		if rate, err = strconv.ParseFloat(v, 64); err != nil {
			t.Fatal(err)
		}
	}
	requireTools(t)
	sweep(t)
	l := newLab(t, buildBinary(t))
	wire := l.host("s")
	s := &soak{lab: l, duration: duration, tunnels: []*soakTunnel{
		l.soakTunnel("tun", wire, l.host("a").tunnelEnd(1), l.host("b").tunnelEnd(2), false),
		l.soakTunnel("netstack", wire, l.host("c").tunnelEnd(1), l.host("d").tunnelEnd(2), true),
	}}
	flows := len(s.tunnels) * 2 * (soakStreams + 2)
	s.share = uint64(rate * 1e6 / 8 / float64(flows))
	s.run()
}

// soak is a run of TestSoak.
type soak struct {
	*lab
	duration time.Duration
	share    uint64 // bytes per second of each flow in each direction
	tunnels  []*soakTunnel
}

// soakTunnel is a tunnel and the two paths that it can use, by family.
type soakTunnel struct {
	name        string
	left, right *tunnelEnd
	paths       [2]*badPath

	streams   atomic.Int64 // that ended without an error
	datagrams [2]echoes
}

func (l *lab) soakTunnel(name string, wire *labHost, left, right *tunnelEnd, netstack bool) *soakTunnel {
	l.Helper()
	t := &soakTunnel{name: name, left: left, right: right}
	for i, at := range []netip.Addr{netip.MustParseAddr(wire.address), wire.outer6()} {
		t.paths[i] = wire.badPath(at, left.outer(i == 1), right.outer(i == 1))
	}
	left.runTUN()
	if netstack {
		right.runNetstack()
	} else {
		right.runTUN()
	}
	left.meet(right, t.paths[0].door(0))
	right.meet(left, t.paths[0].door(1))
	t.take(0)
	right.serve()
	left.mustExec("ping", "-c", "1", "-w", "25", right.inner)
	return t
}

// take makes the tunnel use one path. It closes the other path first: datagrams that are
// in flight there would make both ends return to it.
func (t *soakTunnel) take(path int) {
	t.left.Helper()
	t.paths[1-path].open.Store(false)
	defer t.paths[path].open.Store(true)
	for i, e := range []*tunnelEnd{t.left, t.right} {
		peer := []*tunnelEnd{t.right, t.left}[i]
		e.mustExec("wg", "set", e.link, "peer", peer.public, "endpoint", t.paths[path].door(i).String())
	}
}

// run starts all flows and watches them.
func (s *soak) run() {
	ctx, cancel := context.WithTimeout(s.Context(), s.duration)
	defer cancel()
	var flows sync.WaitGroup
	for _, t := range s.tunnels {
		for i := range soakStreams {
			flows.Go(func() { s.talk(ctx, t, i%2 == 1) })
		}
		for i := range t.datagrams {
			flows.Go(func() { s.echo(ctx, t, i) })
		}
	}
	go func() { // the last streams are completed
		flows.Wait()
		cancel()
	}()
	s.watch(ctx)
	flows.Wait()
	s.report()
	for _, t := range s.tunnels {
		if t.streams.Load() == 0 {
			s.Errorf("%s: no stream has ended", t.name)
		}
		for i := range t.datagrams {
			if d := &t.datagrams[i]; d.returned.Load() < d.sent/2 {
				s.Errorf("%s: of %d datagrams only %d came back", t.name, d.sent, d.returned.Load())
			}
		}
	}
}

// talk runs one stream after another.
func (s *soak) talk(ctx context.Context, t *soakTunnel, v6 bool) {
	for ctx.Err() == nil && !s.Failed() {
		f := flow{Seed: rand.Uint64(), Lengths: [2]uint64{s.length(), s.length()}, Rate: s.share}
		conn, err := t.left.dial(context.Background(), "tcp", t.right.at(v6))
		if err == nil {
			err = f.start(conn)
		}
		if err != nil {
			s.Errorf("%s: %v", t.name, err)
			return
		}
		t.streams.Add(1)
	}
}

// length returns the length of a stream. It can be any, and is often at most about a
// packet.
func (s *soak) length() uint64 {
	if rand.IntN(4) == 0 {
		return rand.Uint64N(3000)
	}
	return rand.Uint64N(s.share * 10)
}

// soakSize returns the size of a datagram. It is often the same several times in a row,
// so that these are sent as one, and sometimes larger than a packet.
func soakSize() int {
	switch rand.IntN(16) {
	case 0:
		return rand.IntN(3000)
	case 1, 2, 3, 4, 5, 6, 7, 8:
		return 1340
	}
	return rand.IntN(1400)
}

// echo sends datagrams until ctx ends.
func (s *soak) echo(ctx context.Context, t *soakTunnel, i int) {
	conn, err := t.left.dial(ctx, "udp", t.right.at(i == 1))
	if err == nil {
		err = t.datagrams[i].run(ctx, conn, flow{Seed: rand.Uint64(), Rate: s.share}, soakSize)
	}
	if err != nil {
		s.Errorf("%s: %v", t.name, err)
	}
}

// watch checks the processes and changes paths until ctx ends or a check fails.
func (s *soak) watch(ctx context.Context) {
	look, minute := time.NewTicker(5*time.Second), time.NewTicker(time.Minute)
	defer look.Stop()
	defer minute.Stop()
	turn := time.NewTicker(max(s.duration/6, 10*time.Second))
	defer turn.Stop()
	for path := 0; !s.Failed(); {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
			path = 1 - path
			for _, t := range s.tunnels {
				t.take(path)
			}
		case <-minute.C:
			s.report()
		case <-look.C:
			s.check()
		}
	}
}

func (s *soak) ends() (all []*tunnelEnd) {
	for _, t := range s.tunnels {
		all = append(all, t.left, t.right)
	}
	return all
}

// check fails the test if a process has ended or uses too much memory.
func (s *soak) check() {
	for _, e := range s.ends() {
		limit := dataPlaneMegabytes
		if e.netstack {
			limit = netstackMegabytes
		}
		if err := e.proc.running(); err != nil {
			s.Error(err)
		} else if kib := e.proc.resident(s.T); kib > limit*1000*1000/1024 {
			s.Errorf("%s uses %d KiB", e.link, kib)
		}
	}
}

// report logs the figures of the run.
func (s *soak) report() {
	var line strings.Builder
	for _, t := range s.tunnels {
		d := &t.datagrams
		fmt.Fprintf(&line, "%s: %d streams, echoes %d+%d, carried %d+%d, resident", t.name, t.streams.Load(),
			d[0].returned.Load(), d[1].returned.Load(), t.paths[0].carried.Load(), t.paths[1].carried.Load())
		for _, e := range []*tunnelEnd{t.left, t.right} {
			if e.proc.running() == nil {
				fmt.Fprintf(&line, " %d", e.proc.resident(s.T))
			}
		}
		handshake, _ := t.left.exec("wg", "show", t.left.link, "latest-handshakes")
		if _, at, ok := strings.Cut(strings.TrimSpace(handshake), "\t"); ok {
			unix, _ := strconv.ParseInt(at, 10, 64)
			fmt.Fprintf(&line, " KiB, handshake %s ago; ", time.Since(time.Unix(unix, 0)).Round(time.Second))
		}
	}
	s.Logf("%s %s", time.Now().UTC().Format(time.TimeOnly), line.String())
}
