package bind

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

func TestBurst(t *testing.T) {
	for _, tc := range []struct {
		name  string
		sizes []int
		limit int
		want  int
	}{
		{"one", []int{5}, 100, 1},
		{"equal", []int{5, 5, 5}, 100, 3},
		{"smaller last", []int{5, 5, 4, 4}, 100, 3},
		{"larger follows", []int{4, 5}, 100, 1},
		{"empty first", []int{0, 5}, 100, 1},
		{"empty follows", []int{5, 0}, 100, 1},
		{"limit", []int{5, 5, 5}, 14, 2},
		{"limit, smaller last", []int{5, 5, 4}, 14, 3},
		{"above the limit alone", []int{50, 5}, 14, 1},
		{"segments", slices.Repeat([]int{1}, 100), 100, 64},
	} {
		if got := burst(buffers(tc.sizes), tc.limit); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// network records what a Bind sends. It fails with the error that refuse returns.
type network struct {
	refuse func(m sentMessage) syscall.Errno
	sent   [][]byte
	bursts int
	calls  int
}

type sentMessage struct {
	datagrams [][]byte
	segment   int // 0: not to be segmented
	source    bool
}

func (n *network) send(_ uintptr, msgs []mmsghdr) (int, syscall.Errno) {
	n.calls++
	for i := range msgs {
		m := decode(&msgs[i].Msghdr)
		if errno := n.refuse(m); errno != 0 && i == 0 {
			return 0, errno
		} else if errno != 0 {
			return i, 0
		}
		if m.segment != 0 {
			n.bursts++
		}
		for _, d := range m.datagrams {
			n.sent = append(n.sent, bytes.Clone(d))
		}
	}
	return len(msgs), 0
}

// decode parses a message as the kernel does.
func decode(msg *unix.Msghdr) (m sentMessage) {
	var data []byte
	for _, iov := range unsafe.Slice(msg.Iov, int(msg.Iovlen)) {
		data = append(data, unsafe.Slice(iov.Base, int(iov.Len))...)
	}
	if msg.Controllen > 0 {
		messages, err := unix.ParseSocketControlMessage(unsafe.Slice(msg.Control, int(msg.Controllen)))
		if err != nil {
			panic(err)
		}
		for _, c := range messages {
			if c.Header.Type == unix.UDP_SEGMENT {
				m.segment = int(*(*uint16)(unsafe.Pointer(&c.Data[0])))
			} else {
				m.source = true
			}
		}
	}
	m.datagrams = [][]byte{data}
	if m.segment > 0 {
		m.datagrams = slices.Collect(slices.Chunk(data, m.segment))
	}
	return m
}

// datagrams returns one datagram of each size, all different.
func datagrams(sizes ...int) [][]byte {
	bufs := buffers(sizes)
	for i, buf := range bufs {
		for j := range buf {
			buf[j] = byte(i*7 + j)
		}
	}
	return bufs
}

// sourced returns an endpoint with the source 127.0.0.1 on loopback.
func sourced(port uint16) *endpoint {
	e := newEndpoint(local4(port), 0)
	e.setSource(netip.MustParseAddr("127.0.0.1"), 1)
	return e
}

func TestFallbacks(t *testing.T) {
	bufs := datagrams(1000, 1000, 1000, 400, 700, 700, 300, 300)
	all := len(bufs)
	ok := func(sentMessage) syscall.Errno { return 0 }
	is := func(errno syscall.Errno, when func(m sentMessage) bool) func(sentMessage) syscall.Errno {
		return func(m sentMessage) syscall.Errno {
			if when(m) {
				return errno
			}
			return 0
		}
	}
	isBurst := func(m sentMessage) bool { return m.segment > 0 }
	isLarge := func(m sentMessage) bool { return m.segment > 800 }
	isSourced := func(m sentMessage) bool { return m.source }
	always := func(sentMessage) bool { return true }
	for _, tc := range []struct {
		name       string
		refuse     func(sentMessage) syscall.Errno
		sent       int
		err        error
		bursts     int
		offload    bool // segmentation stays on
		source     bool // the source stays in use
		fragmented bool
	}{
		{"nothing refused", ok, all, nil, 2, true, true, false},
		{"no segmentation", is(unix.EIO, isBurst), all, conn.ErrUDPGSODisabled{}, 0, false, true, false},
		{"segments above the MTU", is(unix.EMSGSIZE, isBurst), all, nil, 0, true, true, true},
		{"large segments above the MTU", is(unix.EMSGSIZE, isLarge), all, nil, 0, true, true, true},
		{"segments above the MTU, old kernel", is(unix.EINVAL, isBurst), all, nil, 0, true, true, true},
		{"source refused", is(unix.EINVAL, isSourced), all, nil, 2, true, false, false},
		{"source gone", is(unix.ENODEV, isSourced), all, nil, 2, true, false, false},
		{
			"source refused, and segments above the MTU, old kernel",
			is(unix.EINVAL, func(m sentMessage) bool { return m.source || isBurst(m) }), all, nil, 0, true, false, true,
		},
		{"memory is short once", once(unix.ENOBUFS), all - 4, unix.ENOBUFS, 1, true, true, false},
		{"no route", is(unix.ENETUNREACH, always), 0, unix.ENETUNREACH, 0, true, false, false},
		{"not allowed", is(unix.EPERM, always), 0, unix.EPERM, 0, true, true, false},
		{"interrupted", once(unix.EINTR), all, nil, 2, true, true, false},
		{"queue full", once(unix.EAGAIN), all, nil, 2, true, true, false},
		{
			"single too large", is(unix.EMSGSIZE, func(m sentMessage) bool { return len(m.datagrams) == 1 && len(m.datagrams[0]) == 1000 || isLarge(m) }),
			all - 3, unix.EMSGSIZE, 0, true, true, false,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := New(nil)
			open(t, b)
			net := &network{refuse: tc.refuse}
			b.kernel.send = net.send
			e := sourced(9)
			err := b.Send(bufs, e)
			if disabled := (conn.ErrUDPGSODisabled{}); errors.As(tc.err, &disabled) {
				if !errors.As(err, &disabled) || disabled.RetryErr != nil {
					t.Errorf("error %v", err)
				}
			} else if !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			want := bufs[all-tc.sent:]
			if !slices.EqualFunc(net.sent, want, bytes.Equal) {
				t.Errorf("%d datagrams of %d left, or in another order", len(net.sent), len(want))
			}
			if net.bursts != tc.bursts || b.v4.Load().segment.Load() != tc.offload {
				t.Errorf("%d bursts, offload %v", net.bursts, b.v4.Load().segment.Load())
			}
			if !b.v6.Load().segment.Load() {
				t.Error("the other socket lost its offload")
			}
			if e.SrcIP().IsValid() != tc.source {
				t.Errorf("source %v", e.SrcIP())
			}
			if got := b.Fragmented(); (len(got) == 1) != tc.fragmented {
				t.Errorf("fragmented: %v", got)
			}
		})
	}
}

// once returns a function that refuses one message.
func once(errno syscall.Errno) func(sentMessage) syscall.Errno {
	return func(sentMessage) syscall.Errno {
		was := errno
		errno = 0
		return was
	}
}

// The next Send does not try again what was refused.
func TestFallbacksLast(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EIO, unix.EMSGSIZE} {
		b := New(nil)
		open(t, b)
		net := &network{refuse: func(m sentMessage) syscall.Errno {
			if m.segment > 0 {
				return errno
			}
			return 0
		}}
		b.kernel.send = net.send
		_ = b.Send(datagrams(5, 5), sourced(9))
		net.calls = 0
		if err := b.Send(datagrams(5, 5), sourced(10)); err != nil || net.calls != 1 {
			t.Errorf("%v: %d calls, %v", errno, net.calls, err)
		}
		b.generation.Add(1)
		net.calls = 0
		_ = b.Send(datagrams(5, 5), sourced(9))
		if again := net.calls > 1; again != (errno == unix.EMSGSIZE) {
			t.Errorf("%v: %d calls after routes changed", errno, net.calls)
		}
	}
}

func TestManyDatagrams(t *testing.T) {
	b := New(nil)
	open(t, b)
	net := &network{refuse: func(sentMessage) syscall.Errno { return 0 }}
	b.kernel.send = net.send
	var sizes []int
	for i := range 3*conn.IdealBatchSize + 1 {
		sizes = append(sizes, i)
	}
	bufs := datagrams(sizes...)
	if err := b.Send(bufs, sourced(9)); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(net.sent, bufs, bytes.Equal) {
		t.Errorf("%d datagrams of %d left", len(net.sent), len(bufs))
	}
}

func TestAllocations(t *testing.T) {
	from, to := New(nil), New(nil)
	open(t, from)
	fns, port := open(t, to)
	ep, in, out := parse(t, from, local4(port)), newBatch(), datagrams(slices.Repeat([]int{1452}, 128)...)
	allocs := 1.0
	// Under the race detector pools lose objects now and then, so the least counts.
	for range 20 {
		allocs = min(allocs, testing.AllocsPerRun(5, func() {
			if err := from.Send(out, ep); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < len(out); {
				in.receive(t, fns[0], func([]byte, conn.Endpoint) { got++ })
			}
		}))
	}
	if allocs != 0 {
		t.Errorf("%v allocations per batch", allocs)
	}
}
