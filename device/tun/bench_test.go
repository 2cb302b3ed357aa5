package tun

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// device opens an interface, of this package or of upstream, with routes.
func (k kernel) device(whose, name string, routes ...string) tun.Device {
	k.t.Helper()
	fd := k.link(name, unix.IFF_VNET_HDR, routes...)
	var d tun.Device
	var err error
	if whose == "upstream" {
		d, _, err = tun.CreateUnmonitoredTUNFromFD(fd)
	} else {
		var n *TUN
		n, err = newTUN(fd)
		if err == nil {
			err = n.prepare(1420)
		}
		d = n
	}
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = d.Close() })
	return d
}

// BenchmarkRead measures reads of packets that the kernel holds ready. Like
// BenchmarkWrite, it reports the best time, which other programs disturb least.
func BenchmarkRead(b *testing.B) {
	large := segment{flow: 1, options: 12, payload: numbered(47 * 1368)}.super(1368)
	datagram := segment{flow: 2, udp: true, payload: numbered(1200)}.single()
	for _, bm := range []struct {
		name    string
		ready   [][]byte
		packets int
	}{
		{"super", slices.Repeat([][]byte{large}, 4), 4 * 47},
		{"one ACK", [][]byte{segment{flow: 3}.single()}, 1},
		{"100 datagrams", slices.Repeat([][]byte{datagram}, 100), 100},
	} {
		for _, v := range []struct {
			name string
			size int
		}{{"upstream", 65535}, {"ours", 65535}, {"ours", 2048}} {
			b.Run(bm.name+"/"+v.name+map[bool]string{true: ", small buffers"}[v.size < 65535], func(b *testing.B) {
				k := newKernel(b)
				source := k.link("wsin", unix.IFF_VNET_HDR, inRoutes...)
				defer unix.Close(source)
				d := k.device(v.name, "wsout", outRoutes...)
				bufs, sizes := buffers(128, v.size)
				best := time.Hour
				b.ReportAllocs()
				for b.Loop() {
					for _, m := range bm.ready {
						if _, err := unix.Write(source, m); err != nil {
							b.Fatal(err)
						}
					}
					start := time.Now()
					for got := 0; got < bm.packets; {
						n, err := d.Read(bufs, sizes, front)
						if err != nil {
							b.Fatal(err)
						}
						got += n
					}
					best = min(best, time.Since(start))
				}
				b.ReportMetric(float64(best.Nanoseconds())/float64(bm.packets), "best-ns/packet")
			})
		}
	}
}

// BenchmarkWrite measures writes to a kernel that drops all packets at once.
func BenchmarkWrite(b *testing.B) {
	one := segment{flow: 1, options: 12, payload: numbered(120 * 1368)}.cut(1368)
	other := segment{flow: 2, v6: true, payload: numbered(60 * 1360)}.cut(1360)
	two := make([][]byte, 0, 120)
	for i := range other {
		two = append(two, one[i], other[i])
	}
	for _, bm := range []struct {
		name    string
		packets [][]byte
	}{
		{"one flow", one},
		{"two flows", two},
		{"datagrams", segment{flow: 2, udp: true, payload: numbered(120 * 1200)}.cut(1200)},
		{"one ACK", [][]byte{segment{flow: 3}.whole()}},
		{"ACKs", slices.Repeat([][]byte{segment{flow: 3}.whole()}, 100)},
	} {
		for _, whose := range []string{"upstream", "ours"} {
			b.Run(bm.name+"/"+whose, func(b *testing.B) {
				k := newKernel(b)
				d := k.device(whose, "wsin", inRoutes...)
				for _, r := range outRoutes {
					_, dst, _ := net.ParseCIDR(r)
					if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_BLACKHOLE}); err != nil {
						b.Fatal(err)
					}
				}
				bufs := framed(bm.packets...)
				for i := range bufs {
					bufs[i] = slices.Grow(bufs[i], 1<<16)
				}
				work := slices.Clone(bufs)
				best := time.Hour
				b.ReportAllocs()
				for b.Loop() {
					copy(work, bufs)
					for i, p := range bm.packets {
						copy(bufs[i][front:], p[:min(len(p), 80)])
					}
					start := time.Now()
					if _, err := d.Write(work, front); err != nil {
						b.Fatal(err)
					}
					best = min(best, time.Since(start))
				}
				b.ReportMetric(float64(best.Nanoseconds())/float64(len(bufs)), "best-ns/packet")
			})
		}
	}
}
