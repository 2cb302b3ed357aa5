package tun

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const front = 16 // the offset of a WireGuard device

var offloads = mode{virtio: true, udp: true}

// read returns want packets, or fails.
func read(t *testing.T, n *TUN, bufs [][]byte, sizes []int, want int) [][]byte {
	t.Helper()
	var out [][]byte
	for len(out) < want {
		_ = n.file.SetReadDeadline(time.Now().Add(10 * time.Second)) // instead of hanging
		count, err := n.Read(bufs, sizes, front)
		if err != nil {
			t.Fatal(err)
		}
		for i := range count {
			out = append(out, bytes.Clone(bufs[i][front:front+sizes[i]]))
		}
	}
	return out
}

func same(t *testing.T, name string, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d packets, want %d", name, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("%s: packet %d of %d has %d bytes\n%x\nwant %d\n%x", name, i, len(got),
				len(got[i]), got[i][:min(90, len(got[i]))], len(want[i]), want[i][:min(90, len(want[i]))])
		}
	}
}

// message is what the kernel hands over at once, and the packets it becomes.
type message struct {
	bytes []byte
	want  [][]byte
}

func single(s segment) message           { return message{s.single(), [][]byte{s.whole()}} }
func super4(s segment, size int) message { return message{s.super(size), s.cut(size)} }

func TestRead(t *testing.T) {
	large := segment{seq: 1 << 31, id: 0xfff0, payload: numbered(46 * 1348), options: 12}
	last := large
	last.flags, last.payload = 0x19, numbered(30*1348+17)
	v6 := segment{v6: true, payload: numbered(60000)}
	hops := segment{v6: true, hops: 8, payload: numbered(5000)}
	udp := segment{udp: true, payload: numbered(40*1200 + 1)}
	udp6 := segment{udp: true, v6: true, payload: numbered(10 * 900)}
	ack, other := segment{flow: 9}, segment{flow: 9, v6: true, payload: numbered(1360)}
	partial := message{segment{v6: true, payload: numbered(700)}.super(1), nil}
	partial.bytes[1], partial.want = 0, [][]byte{segment{v6: true, payload: numbered(700)}.whole()}
	forwarded := super4(v6, 1360)
	forwarded.bytes[2], forwarded.bytes[3] = 0xff, 0xff // a wrong header length
	ecn := super4(large, 1348)
	ecn.bytes[1] |= unix.VIRTIO_NET_HDR_GSO_ECN
	bare := super4(large, 1348) // no partial checksum
	clear(bare.bytes[6:10])
	bare.bytes[0] = 0

	right := super4(large, 1348)
	for name, batch := range map[string][]message{
		"single packets":   {single(ack), single(other), single(ack)},
		"partial checksum": {partial},
		"one":              {right},
		"right guesses":    {right, right, right, super4(last, 1348), right},
		"with small ones":  {right, single(ack), right, single(other), right, single(ack)},
		"other header":     {right, super4(v6, 1360), super4(v6, 1360), right},
		"other size":       {right, super4(large, 1000), right, super4(large, 1400)},
		"tiny segments":    {super4(segment{payload: numbered(900)}, 3), right, single(other)},
		"after tiny ones":  {super4(segment{udp: true, payload: numbered(9)}, 3), super4(hops, 900), single(other)},
		"datagrams":        {super4(udp, 1200), super4(udp6, 900), super4(udp, 1200), super4(udp, 1200)},
		"extension header": {super4(hops, 1000), super4(hops, 1000)},
		"forwarded":        {forwarded, forwarded},
		"ECN":              {ecn, ecn},
		"not partial":      {bare, right, bare},
		"large as single":  {right, single(segment{v6: true, payload: numbered(1900)})},
	} {
		for _, size := range []int{2048, 65535} {
			n, kernel := pair(t, offloads)
			bufs, sizes := buffers(128, size)
			var want [][]byte
			for _, m := range batch {
				want = append(want, m.want...)
				if _, err := unix.Write(kernel, m.bytes); err != nil {
					t.Fatal(err)
				}
			}
			same(t, name, read(t, n, bufs, sizes, len(want)), want)
		}
	}
}

// A batch ends where another super-packet would not fit. If a super-packet comes when
// none was expected, it is split over two batches.
func TestReadFillsBatches(t *testing.T) {
	n, kernel := pair(t, offloads)
	bufs, sizes := buffers(128, 2048)
	send := func(m message, times int) {
		for range times {
			if _, err := unix.Write(kernel, m.bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect := func(what string, want int) {
		t.Helper()
		if got := len(read(t, n, bufs, sizes, 1)); got != want {
			t.Errorf("%s: a batch of %d, want %d", what, got, want)
		}
	}
	ack := single(segment{})
	send(ack, 9)
	expect("small packets", 9)
	right := super4(segment{payload: numbered(46 * 1400)}, 1400)
	send(right, 3)
	expect("two super-packets", 92)
	expect("the third", 46)
	for range 20 { // until no super-packet is expected
		send(ack, 1)
		expect("an acknowledgment", 1)
	}
	send(ack, 100)
	send(right, 1)
	send(ack, 100)
	expect("full", 128)
	expect("rest", 18+100)
	many := super4(segment{payload: numbered(300)}, 1)
	send(many, 1)
	same(t, "more than a batch", read(t, n, bufs, sizes, 300), many.want)
}

// The payload of a super-packet is not copied if the guess was right.
func TestReadScatters(t *testing.T) {
	n, kernel := pair(t, offloads)
	bufs, sizes := buffers(128, 2048)
	m := super4(segment{v6: true, payload: numbered(46 * 1360)}, 1360)
	for i := range 3 {
		if _, err := unix.Write(kernel, m.bytes); err != nil {
			t.Fatal(err)
		}
		same(t, "super-packet", read(t, n, bufs, sizes, 46), m.want)
		if copied := n.reader.linear != [linearSize]byte{}; copied != (i == 0) {
			t.Errorf("super-packet %d: copied is %v", i, copied)
		}
		n.reader.linear = [linearSize]byte{}
	}
}

func TestReadDrops(t *testing.T) {
	good := single(segment{v6: true, payload: numbered(100)})
	whole := segment{payload: numbered(3000)}
	change := func(at int, value byte) []byte {
		m := whole.super(1000)
		m[at] = value
		return m
	}
	for name, bad := range map[string][]byte{
		"shorter than a header": make([]byte, 9),
		"nothing but a header":  make([]byte, 10),
		"larger than a buffer":  segment{payload: numbered(2100)}.single(),
		"segments too large":    whole.super(2500)[:virtioSize+40+2500],
		"unknown GSO":           change(1, unix.VIRTIO_NET_HDR_GSO_UDP),
		"GSO of the other":      change(1, unix.VIRTIO_NET_HDR_GSO_TCPV6),
		"segment of zero":       append([]byte{1, 1, 0, 0, 0, 0}, change(0, 1)[6:]...),
		"checksum too early":    change(6, 3),
		"checksum too late":     append([]byte{1, 1, 0, 0, 9, 9, 0xff, 0xff}, change(0, 1)[8:]...),
		"checksum elsewhere":    change(8, 6),
		"TCP header too short":  change(virtioSize+32, 0x40),
		"TCP header too long":   whole.super(1000)[:virtioSize+39],
		"not an IP version":     change(virtioSize, 0x75),
		"checksum outside":      append([]byte{1, 0, 0, 0, 0, 0, 90, 0, 16, 0}, whole.whole()[:50]...),
	} {
		n, kernel := pair(t, offloads)
		bufs, sizes := buffers(128, 2048)
		for _, m := range [][]byte{good.bytes, bad, good.bytes} {
			if _, err := unix.Write(kernel, m); err != nil {
				t.Fatal(err)
			}
		}
		got := read(t, n, bufs, sizes, 2)
		same(t, name, got, [][]byte{good.want[0], good.want[0]})
	}
}

func TestReadPlain(t *testing.T) {
	n, kernel := pair(t, mode{})
	bufs, sizes := buffers(4, 2048)
	small := segment{v6: true, payload: numbered(1360)}.whole()
	for _, m := range [][]byte{small, make([]byte, 2033), small, small, small, small} {
		if _, err := unix.Write(kernel, m); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "plain", read(t, n, bufs, sizes, 5), [][]byte{small, small, small, small, small})
	if _, err := n.Read(nil, nil, front); err != nil {
		t.Errorf("read of no packets: %v", err)
	}
	_ = n.file.Close()
	if _, err := n.Read(bufs, sizes, front); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

// A packet that the kernel can't hand over does not end Read. Too many of them in a
// row do.
func TestReadFailures(t *testing.T) {
	n, _ := pair(t, offloads)
	bufs, sizes := buffers(4, 2048)
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC) // reading it is EINVAL
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n.reader.begin(bufs, sizes, front)
	if !n.reader.fill(uintptr(fd)) || n.reader.failures != maxFailures {
		t.Errorf("%d failures", n.reader.failures)
	}
	if count, err := n.reader.end(); count != 0 || !errors.Is(err, unix.EINVAL) {
		t.Errorf("%d packets, %v", count, err)
	}
	n.reader.failures = 0
	n.reader.begin(bufs, sizes, front)
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if n.reader.fill(uintptr(dir)); !errors.Is(n.reader.err, unix.EISDIR) {
		t.Errorf("another error became %v", n.reader.err)
	}
}

// While packets come one by one, Read does not look for a second one. If there is a
// second one, it comes with the next batch.
func TestReadSparse(t *testing.T) {
	n, kernel := pair(t, offloads)
	bufs, sizes := buffers(128, 2048)
	ack := single(segment{})
	for i, step := range []struct{ send, want int }{
		{1, 1}, {10, 1}, {0, 9}, {5, 5}, {1, 1}, {1, 1}, {2, 2},
	} {
		for range step.send {
			if _, err := unix.Write(kernel, ack.bytes); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(read(t, n, bufs, sizes, 1)); got != step.want {
			t.Errorf("step %d: a batch of %d, want %d", i, got, step.want)
		}
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	n, kernel := pair(t, offloads)
	bufs, sizes := buffers(128, 2048)
	a, b := super4(segment{payload: numbered(46 * 1400)}, 1400), single(segment{})
	if allocs := testing.AllocsPerRun(20, func() {
		_, _ = unix.Write(kernel, a.bytes)
		_, _ = unix.Write(kernel, b.bytes)
		if count, err := n.Read(bufs, sizes, front); err != nil || count != 47 {
			t.Fatal(count, err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
