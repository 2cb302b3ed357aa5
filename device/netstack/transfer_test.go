package netstack

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// payload returns size pseudo-random bytes, the same for equal arguments.
func payload(seed uint64, size int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// exchange sends a stream of size bytes in each direction of a connection from a to b,
// at the same time, and checks what arrives.
func exchange(t *testing.T, a, b *Netstack, to netip.AddrPort, size int) {
	t.Helper()
	l, err := b.ListenTCP(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var ends sync.WaitGroup
	ends.Go(func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		sendAndCheck(t, c, payload(2, size), payload(1, size))
	})
	c, err := a.DialTCPAddrPort(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	sendAndCheck(t, c, payload(1, size), payload(2, size))
	ends.Wait()
}

// sendAndCheck writes in pieces of various sizes while it reads.
func sendAndCheck(t *testing.T, c net.Conn, send, want []byte) {
	var sending sync.WaitGroup
	sending.Go(func() {
		for rest, i := send, 0; len(rest) > 0; i++ {
			n := min(1+(i*7919)%70_000, len(rest))
			if _, err := c.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
	})
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Errorf("%v after %d bytes of %d", err, n, len(want))
	} else if sha256.Sum256(got) != sha256.Sum256(want) {
		t.Error("the stream was corrupted")
	}
	sending.Wait()
	_ = c.Close()
}

func TestTransfer(t *testing.T) {
	for _, mtu := range []int{1280, 1420, 9000} {
		for _, to := range []netip.Addr{addrB, addrB4} {
			t.Run(fmt.Sprintf("%d/%s", mtu, to), func(t *testing.T) {
				a, b := newStack(t, addrA, addrA4), newStack(t, addrB, addrB4)
				for _, n := range []*Netstack{a, b} {
					n.link.SetMTU(uint32(mtu))
				}
				join(t, a, b, limited(t, mtu), limited(t, mtu))
				exchange(t, a, b, netip.AddrPortFrom(to, 80), 1<<20)
			})
		}
	}
}

// limited returns a filter that changes nothing. When the test ends, it checks that no
// packet was larger than the MTU, and that some came near it.
func limited(t *testing.T, mtu int) filter {
	const options = 40 // the stack always leaves room for these
	largest := 0
	t.Cleanup(func() {
		if largest < mtu-options || largest > mtu {
			t.Errorf("the largest packet has %d bytes, the MTU is %d", largest, mtu)
		}
	})
	return func(batch [][]byte) [][]byte {
		for _, packet := range batch {
			largest = max(largest, len(packet)-16)
		}
		return batch
	}
}

func TestTransferOverBadLink(t *testing.T) {
	for _, to := range []netip.Addr{addrB, addrB4} {
		a, b := newStack(t, addrA, addrA4), newStack(t, addrB, addrB4)
		join(t, a, b, new(impaired).pass, new(impaired).pass)
		exchange(t, a, b, netip.AddrPortFrom(to, 80), 512<<10)
	}
}

// TestTransferFromPlainPeer writes one packet at a time, as from a peer without
// segmentation.
func TestTransferFromPlainPeer(t *testing.T) {
	a, b := newStack(t, addrA), newStack(t, addrB)
	single := func(to *Netstack) filter {
		return func(batch [][]byte) [][]byte {
			for i := range batch {
				_, _ = to.Write(batch[i:i+1], 16)
			}
			return nil
		}
	}
	join(t, a, b, single(b), single(a))
	exchange(t, a, b, netip.AddrPortFrom(addrB, 80), 1<<20)
}

// TestMTUChanges lowers the MTU during connections that were made with a larger one.
func TestMTUChanges(t *testing.T) {
	a, b := newStack(t, addrA), newStack(t, addrB)
	const lowered = 1300
	seen, over := 0, 0
	watch := func(batch [][]byte) [][]byte {
		for _, packet := range batch {
			switch seen++; {
			case seen == 500:
				if err := a.Configure(lowered, []netip.Prefix{netip.PrefixFrom(addrA, 128)}); err != nil {
					t.Error(err)
				}
			case seen > 500+2*batchSize && len(packet)-16 > lowered:
				over++ // all packets of the old size have passed by now
			}
		}
		return batch
	}
	t.Cleanup(func() { // runs after that of the wire
		if seen < 1000 || over > 0 {
			t.Errorf("%d packets, %d of them too large", seen, over)
		}
	})
	join(t, a, b, watch, unchanged)
	exchange(t, a, b, netip.AddrPortFrom(addrB, 80), 2<<20)
}

// TestCloseWhileBusy closes both stacks during a transfer, which ends at both ends.
func TestCloseWhileBusy(t *testing.T) {
	a, b := wire(t)
	l, err := b.ListenTCP(netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.DialTCPAddrPort(t.Context(), netip.AddrPortFrom(addrB, 80))
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var ends sync.WaitGroup
	for _, end := range []net.Conn{c, server} {
		ends.Go(func() {
			_, err := io.Copy(end, endless{})
			if err == nil {
				t.Error("writing ended without an error")
			}
		})
		ends.Go(func() { _, _ = io.Copy(io.Discard, end) })
	}
	if _, err := io.CopyN(io.Discard, server, 1<<20); err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	_ = b.Close()
	ends.Wait()
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }
