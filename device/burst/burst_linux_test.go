package burst

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func listen(t testing.TB, network, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func at(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// datagrams returns a burst of datagrams that differ.
func datagrams(count, size, last int) []byte {
	var b []byte
	for i := range count - 1 {
		b = append(b, bytes.Repeat([]byte{byte(i)}, size)...)
	}
	return append(b, bytes.Repeat([]byte{0xff}, last)...)
}

// expect reads until all datagrams of a burst have come.
func expect(t *testing.T, s *Conn, want []byte, size int, from netip.AddrPort) {
	t.Helper()
	buf := make([]byte, Size)
	for len(want) > 0 {
		n, each, sender, err := s.ReadBurst(buf)
		if err != nil || sender != from || each != size && n != len(want) {
			t.Fatalf("%d bytes in datagrams of %d from %v, %v; want datagrams of %d from %v", n, each, sender, err, size, from)
		}
		if !bytes.HasPrefix(want, buf[:n]) {
			t.Fatal("what came is something else")
		}
		want = want[n:]
	}
}

// A burst arrives in order and cut as before: in one piece or several, by segments or, where the
// kernel refuses those, one by one; on sockets with and without a fixed peer.
func TestBurst(t *testing.T) {
	for name, host := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			a, b := New(listen(t, "udp", host)), New(listen(t, "udp", host))
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at(a.UDPConn)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			connected := New(c)
			for _, burst := range []struct{ count, size, last int }{{1, 1400, 1400}, {2, 1400, 1400}, {40, 1452, 100}, {64, 1000, 1000}, {500, 20, 20}} {
				data := datagrams(burst.count, burst.size, burst.last)
				if err := b.WriteBurst(data, burst.size, at(a.UDPConn)); err != nil {
					t.Fatal(err)
				}
				expect(t, a, data, burst.size, at(b.UDPConn))
				if err := connected.WriteBurst(data, burst.size, netip.AddrPort{}); err != nil {
					t.Fatal(err)
				}
				expect(t, a, data, burst.size, at(c))
				if err := a.WriteBurst(data, burst.size, at(c)); err != nil {
					t.Fatal(err)
				}
				expect(t, connected, data, burst.size, at(a.UDPConn))
			}
			b.single.Store(true)
			data := datagrams(40, 1452, 100)
			if err := b.WriteBurst(data, 1452, at(a.UDPConn)); err != nil {
				t.Fatal(err)
			}
			expect(t, a, data, 1452, at(b.UDPConn))
		})
	}
}

// Control messages of the socket come beside the size, and may be sent back.
func TestControls(t *testing.T) {
	a, b := New(listen(t, "udp4", "0.0.0.0:0")), New(listen(t, "udp4", "127.0.0.1:0"))
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1) })
	if err != nil {
		t.Fatal(err)
	}
	data := datagrams(10, 1000, 1000)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at(a.UDPConn).Port())
	if err := b.WriteBurst(data, 1000, to); err != nil {
		t.Fatal(err)
	}
	buf, control := make([]byte, Size), make([]byte, controlSize)
	n, size, controls, _, err := a.ReadBurstMsg(buf, control)
	if err != nil || size != 1000 || controls != unix.CmsgSpace(unix.SizeofInet4Pktinfo) {
		t.Fatalf("%d bytes of %d, %d bytes of control messages, %v", n, size, controls, err)
	}
	if err := a.WriteBurstMsg(buf[:n], size, control[:controls], at(b.UDPConn)); err != nil {
		t.Fatal(err)
	}
	expect(t, b, data[:n], 1000, to)
}

func TestAllocs(t *testing.T) {
	a, b := New(listen(t, "udp4", "127.0.0.1:0")), New(listen(t, "udp4", "127.0.0.1:0"))
	data, buf, to := datagrams(1, 1400, 1400), make([]byte, Size), at(a.UDPConn)
	for _, data := range [][]byte{data, datagrams(40, 1400, 1400)} {
		n := testing.AllocsPerRun(100, func() {
			if err := b.WriteBurst(data, 1400, to); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < len(data); {
				n, _, _, err := a.ReadBurst(buf)
				if err != nil {
					t.Fatal(err)
				}
				got += n
			}
		})
		if n != 0 {
			t.Errorf("%v allocations for %d bytes", n, len(data))
		}
	}
}

// A run takes what one burst may be: datagrams of one size, and a smaller one at its end.
func TestRun(t *testing.T) {
	r := NewRun()
	take := func(sizes ...int) (taken int) {
		r.Reset()
		for _, size := range sizes {
			if room := r.Next(size); room == nil {
				break
			} else if len(room) != size {
				t.Fatalf("room for %d, want %d", len(room), size)
			}
			taken++
		}
		return taken
	}
	many := func(count, size int) (sizes []int) {
		for range count {
			sizes = append(sizes, size)
		}
		return sizes
	}
	for _, c := range []struct {
		sizes []int
		want  int
	}{
		{[]int{5, 5, 5}, 3}, {[]int{5, 6}, 1}, {[]int{5, 4, 4}, 2}, {[]int{5, 4, 5}, 2}, {many(100, 10), 64}, {many(64, 1604), 40}, {[]int{1604}, 1},
	} {
		if got := take(c.sizes...); got != c.want {
			t.Errorf("of %d datagrams %d are taken, want %d", len(c.sizes), got, c.want)
		}
	}
}

// Datagrams of a queue that follow one another become a burst; none is lost, reordered or joined
// with one of another sender.
func TestQueue(t *testing.T) {
	q := NewQueue(8, 100)
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1")
	for _, d := range []struct {
		size int
		from netip.AddrPort
	}{{10, a}, {10, a}, {5, a}, {5, a}, {6, a}, {6, b}, {100, b}, {0, b}} {
		if !q.Put(make([]byte, d.size), d.from) {
			t.Fatalf("no room for %v", d)
		}
	}
	if q.Put(nil, a) || q.Put(make([]byte, 101), a) {
		t.Error("there is room for more, or for a larger one")
	}
	buf := make([]byte, Size)
	for _, want := range []struct {
		n, size int
		from    netip.AddrPort
	}{{25, 10, a}, {5, 5, a}, {6, 6, a}, {6, 6, b}, {100, 100, b}} {
		if n, size, from, err := q.ReadBurst(buf); n != want.n || size != want.size || from != want.from || err != nil {
			t.Errorf("%d bytes of %d from %v, %v; want %+v", n, size, from, err, want)
		}
	}
	q.Close()
	if _, _, _, err := q.ReadBurst(buf); !q.Closed() || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
