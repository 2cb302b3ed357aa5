package netstack_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/tun"
)

// BenchmarkDelay measures a TCP stream over a link of 1 Gb/s with delay, and the ratio
// to the same link without delay. It leaves out the slow start.
func BenchmarkDelay(b *testing.B) {
	const rate = 125_000_000 // bytes per second
	for _, rtt := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(rtt.String(), func(b *testing.B) {
			var near, far float64
			for range b.N {
				near += goodput(b, rate, 0)
				far += goodput(b, rate, rtt)
			}
			b.ReportMetric(far/float64(b.N)*8/1e6, "Mb/s")
			b.ReportMetric(far/near, "ratio")
		})
	}
}

// goodput returns the bytes per second of a stream. It measures as many bytes as the
// link carries in a second, after twice as many that do not count.
func goodput(b *testing.B, rate int, rtt time.Duration) float64 {
	pair := [2]host{ours(b, hosts[0]), ours(b, hosts[1])}
	var pumps sync.WaitGroup
	pumps.Go(func() { delay(pair[0].plane, pair[1].plane, rate, rtt/2) })
	pumps.Go(func() { delay(pair[1].plane, pair[0].plane, rate, rtt/2) })
	defer func() { _, _ = pair[0].plane.Close(), pair[1].plane.Close(); pumps.Wait() }()
	to := netip.AddrPortFrom(hosts[1], benchPort)
	l, err := pair[1].listen(to)
	if err != nil {
		b.Fatal(err)
	}
	c, err := pair[0].dial(b.Context(), to)
	if err != nil {
		b.Fatal(err)
	}
	pumps.Go(func() {
		var err error
		for data := make([]byte, 64<<10); err == nil; {
			_, err = c.Write(data)
		}
	})
	received, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	read := func(size int) {
		for size > 0 {
			n, err := received.Read(buf[:min(size, len(buf))])
			if err != nil {
				b.Fatal(err)
			}
			size -= n
		}
	}
	read(2 * rate)
	start := time.Now()
	read(rate)
	return float64(rate) / time.Since(start).Seconds()
}

// delayed is a packet on a delayed link.
type delayed struct {
	packet []byte
	due    time.Time
}

// delay carries packets at a rate, and delivers each after a latency. It loses none:
// packets above the rate wait in the stack.
func delay(from, to tun.Device, rate int, latency time.Duration) {
	const offset = 16
	link := make(chan delayed, 1<<16)
	defer close(link)
	go func() {
		out := make([][]byte, 0, 128)
		for f := range link {
			time.Sleep(time.Until(f.due))
			out = append(out[:0], f.packet)
			for len(link) > 0 && len(out) < cap(out) {
				next, ok := <-link
				if !ok {
					break
				}
				out = append(out, next.packet)
				if time.Until(next.due) > 0 {
					break
				}
			}
			_, _ = to.Write(out, offset)
			for _, packet := range out {
				packets.Put((*[2048]byte)(packet[:2048]))
			}
		}
	}()
	bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
	for i := range bufs {
		bufs[i] = packets.Get().(*[2048]byte)[:]
	}
	sent := time.Now()
	for {
		n, err := from.Read(bufs, sizes, offset)
		if err != nil {
			return
		}
		if now := time.Now(); sent.Before(now.Add(-time.Millisecond)) {
			sent = now
		}
		for i := range n {
			sent = sent.Add(time.Duration(sizes[i]) * time.Second / time.Duration(rate))
			link <- delayed{bufs[i][:offset+sizes[i]], sent.Add(latency)}
			bufs[i] = packets.Get().(*[2048]byte)[:]
		}
		time.Sleep(time.Until(sent) - time.Millisecond)
	}
}

var packets = sync.Pool{New: func() any { return new([2048]byte) }}
