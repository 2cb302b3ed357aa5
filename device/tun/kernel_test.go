package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/offload"
)

// kernel is a network namespace that forwards from one TUN interface to another:
//
//	wsin ── forwarding ── wsout
//
// Segments that Write joins at one end come out at the other end as the kernel
// forwards them, and super-packets of the kernel come out as Read cuts them.
type kernel struct{ t testing.TB }

func newKernel(t testing.TB) kernel {
	t.Helper()
	enterNetns(t)
	// The kernel keeps the order of packets only on one processor.
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.SchedSetaffinity(0, &before) })
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	return kernel{t}
}

// link creates a TUN interface that is up, with routes for these prefixes.
func (k kernel) link(name string, flags uint16, routes ...string) int {
	k.t.Helper()
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	ifr, _ := unix.NewIfreq(name)
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		k.t.Fatal(err)
	}
	k.up(name, routes...)
	return fd
}

func (k kernel) up(name string, routes ...string) {
	k.t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = errors.Join(netlink.LinkSetMTU(link, 1420), netlink.LinkSetUp(link))
	}
	for _, r := range routes {
		_, dst, _ := net.ParseCIDR(r)
		err = errors.Join(err, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst}))
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

var (
	inRoutes  = []string{"10.1.0.0/16", "fd01::/16"}
	outRoutes = []string{"10.2.0.0/16", "fd02::/16"}
	end       = segment{flow: 250, payload: []byte("the end")}
)

// until returns the packets up to the end marker, without those that the kernel sends
// by itself.
func until(t testing.TB, d interface {
	Read([][]byte, []int, int) (int, error)
},
) [][]byte {
	t.Helper()
	bufs, sizes := buffers(128, 65535)
	var out [][]byte
	for {
		n, err := d.Read(bufs, sizes, front)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			p := bytes.Clone(bufs[i][front : front+sizes[i]])
			switch {
			case bytes.HasSuffix(p, end.payload):
				return out
			case p[0]>>4 == 4 || p[6] != unix.IPPROTO_ICMPV6 && p[24] == 0xfd:
				out = append(out, p)
			}
		}
	}
}

// plain is the descriptor of an interface without offloads.
type plain int

func (p plain) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		n, err := unix.Read(int(p), bufs[0][offset:])
		if err == unix.EAGAIN {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(p), Events: unix.POLLIN}}, 10_000)
			if err == nil {
				continue
			}
		}
		sizes[0] = n
		return 1, err
	}
}

// Read cuts super-packets into the same packets as the kernel does for an interface
// without offloads, and as upstream does.
func TestReadLikeTheKernel(t *testing.T) {
	large := segment{flow: 1, seq: 1 << 31, id: 0xfff0, payload: numbered(40 * 1348), options: 12, flags: 0x18}
	v6 := segment{flow: 2, v6: true, payload: numbered(30000), flags: 0x19}
	hops := segment{flow: 3, v6: true, hops: 8, payload: numbered(5000)}
	udp := segment{flow: 4, udp: true, payload: numbered(20*1200 + 1)}
	udp6 := segment{flow: 5, udp: true, v6: true, payload: numbered(10 * 900)}
	in := [][]byte{
		large.super(1348), large.super(1348), v6.super(1360), large.super(1000), hops.super(900),
		udp.super(1200), udp.super(1200), udp6.super(900), large.super(1348), segment{flow: 6}.single(),
		segment{flow: 6, v6: true, payload: numbered(1360)}.single(), v6.super(1360), end.single(),
	}
	partial := segment{flow: 7, udp: true, v6: true, payload: numbered(77)}.super(1)
	partial[1] = 0
	in = slices.Insert(in, 3, partial)

	var results [3][][]byte
	for i, name := range []string{"kernel", "upstream", "ours"} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			source := k.link("wsin", unix.IFF_VNET_HDR, inRoutes...)
			defer unix.Close(source)
			var out interface {
				Read([][]byte, []int, int) (int, error)
			}
			switch name {
			case "kernel":
				fd := k.link("wsout", 0, outRoutes...)
				defer unix.Close(fd)
				out = plain(fd)
			case "upstream":
				native, _, err := tun.CreateUnmonitoredTUNFromFD(k.link("wsout", unix.IFF_VNET_HDR, outRoutes...))
				if err != nil {
					t.Fatal(err)
				}
				defer native.Close()
				out = native
			default:
				out = open(t, "wsout")
				k.up("wsout", outRoutes...)
			}
			for _, m := range in {
				if _, err := unix.Write(source, m); err != nil {
					t.Fatal(err)
				}
			}
			results[i] = until(t, out)
		})
	}
	if t.Failed() || results[0] == nil {
		return
	}
	if len(results[0]) < 200 {
		t.Errorf("only %d packets", len(results[0]))
	}
	same(t, "ours, kernel", results[2], results[0])
	// Upstream sets a wrong payload length behind an extension header.
	extended := func(p []byte) bool { return p[0]>>4 == 6 && p[6] == 0 }
	same(t, "ours, upstream", slices.DeleteFunc(results[2], extended), slices.DeleteFunc(results[1], extended))
}

// stream returns a mixture of flows as they come out of a tunnel. Upstream reorders
// some packets and compares fewer header fields, so for upstream the flows must be
// orderly.
func stream(r *rand.Rand, n int, orderly bool) [][]byte {
	var flows []segment
	for f := range byte(4) {
		flows = append(flows, segment{flow: f, v6: f%2 == 0, udp: f >= 2, seq: r.Uint32(), id: uint16(r.Uint32())})
	}
	var out [][]byte
	for range n {
		f := &flows[r.IntN(len(flows))]
		s := *f
		s.payload = numbered(1200)
		switch r.IntN(20) {
		case 0:
			s.payload = numbered(1 + r.IntN(1200))
		case 1:
			s.flags = 0x18
		case 2:
			if !orderly {
				s.flags = 0x10 | byte(1<<r.IntN(8))
			}
		case 3:
			if !orderly {
				f.seq -= uint32(r.IntN(3) * 1200)
			}
		case 4:
			if !orderly {
				s.options = 12
			}
		}
		f.seq += uint32(len(s.payload))
		f.id++
		out = append(out, s.whole())
	}
	return out
}

// byFlow sorts packets by flow, and keeps the order within each.
func byFlow(packets [][]byte) [][]byte {
	slices.SortStableFunc(packets, func(a, b []byte) int {
		la, _ := offload.Parse(a)
		lb, _ := offload.Parse(b)
		return bytes.Compare(a[la.Transport-1:la.Transport+2], b[lb.Transport-1:lb.Transport+2])
	})
	return packets
}

// forwarded returns a packet as a router sends it on.
func forwarded(p []byte) []byte {
	p = bytes.Clone(p)
	l, _ := offload.Parse(p)
	if l.IPv6 {
		p[7]--
		return p
	}
	p[8]--
	clear(p[10:12])
	binary.BigEndian.PutUint16(p[10:], ^offload.Fold(offload.Checksum(p[:20], 0)))
	return p
}

// The kernel receives from Write the packets of the tunnel, with the order of each
// flow kept, and the same packets from upstream.
func TestWriteLikeUpstream(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, name := range []string{"upstream", "ours", "ours, disorderly"} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			out := k.link("wsout", 0, outRoutes...)
			defer unix.Close(out)
			var in tun.Device
			if name == "upstream" {
				var err error
				if in, _, err = tun.CreateUnmonitoredTUNFromFD(k.link("wsin", unix.IFF_VNET_HDR, inRoutes...)); err != nil {
					t.Fatal(err)
				}
				defer in.Close()
			} else {
				in = open(t, "wsin")
				k.up("wsin", inRoutes...)
			}
			var got, want [][]byte
			for range 10 {
				batch := stream(r, 120, name != "ours, disorderly")
				for _, p := range batch {
					want = append(want, forwarded(p))
				}
				bufs := framed(append(batch, end.whole())...)
				for i := range bufs { // upstream appends in place
					bufs[i] = slices.Grow(bufs[i], 1<<16)
				}
				if _, err := in.Write(bufs, front); err != nil {
					t.Fatal(err)
				}
				got = append(got, until(t, plain(out))...)
			}
			same(t, name, byFlow(got), byFlow(want))
		})
	}
}
