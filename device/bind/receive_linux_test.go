package bind

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// Datagrams for which there is no buffer wait for the next calls, in order. Only a
// datagram larger than its buffer is dropped.
func TestFewBuffers(t *testing.T) {
	from, to := New(nil), New(nil)
	open(t, from)
	fns, port := open(t, to)
	sizes := slices.Repeat([]int{1200}, 40)
	sizes[20] = 1400
	sent := datagrams(sizes...)
	if err := from.Send(sent, parse(t, from, local4(port))); err != nil {
		t.Fatal(err)
	}
	var got [][]byte
	in := newBatch()
	for _, want := range append(sent[:20:20], sent[21:]...) {
		if len(got) == 0 {
			for i := range in.bufs[:3] {
				in.bufs[i] = make([]byte, 1300)
			}
			n, err := fns[0](in.bufs[:3], in.sizes, in.eps)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				got = append(got, in.bufs[i][:in.sizes[i]])
			}
		}
		if !bytes.Equal(got[0], want) {
			t.Fatalf("%d bytes %x…, want %d bytes %x…", len(got[0]), got[0][:1], len(want), want[:1])
		}
		got = got[1:]
	}
	if n, err := fns[0](nil, nil, nil); n != 0 || err != nil {
		t.Errorf("without buffers: %d, %v", n, err)
	}
}

// One call reads until the socket is empty.
func TestFilledBatch(t *testing.T) {
	from, to := New(nil), New(nil)
	open(t, from)
	fns, port := open(t, to)
	sizes := make([]int, 100)
	for i := range sizes {
		sizes[i] = 100 + i // nothing to coalesce
	}
	if err := from.Send(datagrams(sizes...), parse(t, from, local4(port))); err != nil {
		t.Fatal(err)
	}
	var got []int
	newBatch().receive(t, fns[0], func(d []byte, _ conn.Endpoint) { got = append(got, len(d)) })
	if !slices.Equal(got, sizes) {
		t.Errorf("%d datagrams in the first batch, want %d", len(got), len(sizes))
	}
}

// A truncated message is dropped, an empty datagram is skipped, and an error after
// some messages does not lose them.
func TestOddMessages(t *testing.T) {
	b := New(nil)
	step := 0
	b.kernel.receive = func(_ uintptr, msgs []mmsghdr) (int, syscall.Errno) {
		for i := range msgs {
			msgs[i].n, msgs[i].Flags = 7, 0
			msgs[i].SetControllen(0)
		}
		step++
		switch step {
		case 1:
			msgs[0].Flags, msgs[1].Flags, msgs[2].n = unix.MSG_TRUNC, unix.MSG_CTRUNC, 0
			return 3, 0
		case 2:
			return len(msgs), 0
		default:
			return 0, unix.ENOMEM
		}
	}
	fns, _ := open(t, b)
	count := 0
	newBatch().receive(t, fns[0], func(d []byte, _ conn.Endpoint) {
		count++
		if len(d) != 7 {
			t.Errorf("%d bytes", len(d))
		}
	})
	if count != maxMessages || step != 3 {
		t.Errorf("%d datagrams in %d steps", count, step)
	}
}

// A blocked receive ends when the bind is closed.
func TestCloseWhileReceiving(t *testing.T) {
	b := New(nil)
	fns, _ := open(t, b)
	done := make(chan error)
	for _, fn := range fns {
		go func() {
			in := newBatch()
			_, err := fn(in.bufs, in.sizes, in.eps)
			done <- err
		}()
	}
	_ = b.Close()
	for range fns {
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
}
