package e2e

import (
	"context"
	"encoding/json"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	floodRate = 500e6 / 8 // bytes per second
	floodSize = 1200      // bytes of a datagram
)

// scenarioFlood checks that 500 Mb/s to a peer that is down use no memory, and that
// traffic with other peers continues.
func scenarioFlood(l *lab) {
	a, live := l.host("a").tunnelEnd(1), l.host("b").tunnelEnd(2)
	live.runTUN()
	live.meet(a, a.outer(false))
	live.serve()
	closed := l.host("c").tunnelEnd(3) // its host answers with ICMP errors
	absent := l.host("d").tunnelEnd(4)
	absent.ip("link set eth0 down")
	gone := l.host("e").tunnelEnd(5) // its session remains for minutes
	gone.runTUN()
	gone.meet(a, a.outer(false))

	for _, victim := range []struct {
		name string
		*tunnelEnd
		rounds int // with longWaits
	}{{"no such host", absent, 20}, {"nothing listens", closed, 7}, {"it has just died", gone, 7}} {
		a.runTUN()
		a.meet(live, live.outer(false))
		a.mustExec("wg", "set", a.link, "peer", victim.public, "allowed-ips", victim.inner+"/32", "endpoint", victim.outer(false).String())
		a.mustExec("ping", "-c", "1", "-w", "25", live.inner)
		if victim.proc != nil {
			a.mustExec("ping", "-c", "1", "-w", "25", victim.inner)
			victim.proc.end(l.T, syscall.SIGKILL)
		}
		if longWaits {
			a.compareFlood(victim.inner, live, victim.rounds)
		} else {
			a.talkBeside(victim.inner, live)
		}
		kib := a.proc.memory(l.T, "VmHWM")
		l.Logf("%s: the device used %d KiB at most", victim.name, kib)
		if kib > dataPlaneMegabytes*1000*1000/1024 {
			l.Errorf("%s: the device used %d KiB", victim.name, kib)
		}
		a.proc.end(l.T, syscall.SIGTERM)
	}
}

// talkBeside has streams with a live peer during a flood of one second.
func (e *tunnelEnd) talkBeside(victim string, live *tunnelEnd) {
	e.Helper()
	f := e.flood(victim)
	for streams := 0; streams < 2 || f.sent() < int64(floodRate)/floodSize; streams++ {
		e.stream(live.at(false), e.proc, live.proc)
	}
	f.stop()
}

// compareFlood logs the throughput of a TCP stream to a live peer during floods to a
// dead peer, and during the same flood beside the tunnel, which shows the cost of the
// sender. The measurements alternate in short turns, since the speed of a machine
// varies.
func (e *tunnelEnd) compareFlood(victim string, live *tunnelEnd, rounds int) {
	e.Helper()
	const beside = "10.99.0.2"
	e.ip("link add hole0 type veth peer name hole1")
	e.ip("address add 10.99.0.1/24 dev hole0")
	e.ip("link set hole0 up")
	e.ip("link set hole1 up")
	e.ip("neighbour add " + beside + " lladdr 02:00:00:00:00:01 dev hole0")
	defer e.ip("link delete hole0")
	server := live.spawn("iperf3", "iperf3", "-s")
	defer server.end(e.T, syscall.SIGKILL)
	eventually(e.T, 10*time.Second, func() error {
		_, err := e.exec("iperf3", "-c", live.inner, "-t", "1")
		return err
	})
	var rates [3]float64
	var sent int64
	var took time.Duration
	for range rounds {
		for i, target := range []string{"", beside, victim} {
			f := e.flood(target)
			rates[i] += e.throughput(live.inner) / float64(rounds) / 1e6
			n, t := f.stop()
			if target == victim {
				sent, took = sent+n, took+t
			}
		}
	}
	e.Logf("%.0f Mb/s for %s to the dead peer: TCP to the live one %.2f of without (%.0f Mb/s), %.2f of with the flood past the tunnel",
		float64(sent)*floodSize*8/1e6/took.Seconds(), took.Round(time.Second), rates[2]/rates[0], rates[0], rates[2]/rates[1])
}

// throughput returns the rate of a TCP stream of 3 s, in bits per second.
func (e *tunnelEnd) throughput(to string) float64 {
	e.Helper()
	var report struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	out := e.mustExec("iperf3", "-c", to, "-t", "3", "-J")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		e.Fatal(err)
	}
	return report.End.Received.Rate
}

// flood is a stream of datagrams without answers.
type flood struct {
	cancel  context.CancelFunc
	ended   chan struct{}
	started time.Time
	count   atomic.Int64
}

// flood starts a flood to the target. If that is empty, it sends nothing.
func (h *labHost) flood(target string) *flood {
	h.Helper()
	ctx, cancel := context.WithCancel(h.Context())
	f := &flood{cancel: cancel, ended: make(chan struct{}), started: time.Now()}
	if target == "" {
		close(f.ended)
		return f
	}
	conn, err := h.dial(ctx, "udp", net.JoinHostPort(target, "9"))
	if err != nil {
		h.Fatal(err)
	}
	go func() {
		defer close(f.ended)
		defer conn.Close()
		f.run(ctx, ipv4.NewPacketConn(conn.(*net.UDPConn)))
	}()
	return f
}

// run sends the datagrams that are due, every millisecond.
func (f *flood) run(ctx context.Context, conn *ipv4.PacketConn) {
	batch := make([]ipv4.Message, 128)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, floodSize)}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		due := int64(time.Since(f.started).Seconds()*floodRate/floodSize) - f.count.Load()
		n, _ := conn.WriteBatch(batch[:min(max(due, 1), int64(len(batch)))], 0) // ICMP errors are expected
		f.count.Add(int64(n))
	}
}

func (f *flood) sent() int64 { return f.count.Load() }

// stop ends the flood and returns what it sent.
func (f *flood) stop() (sent int64, took time.Duration) {
	f.cancel()
	<-f.ended
	return f.sent(), time.Since(f.started)
}
