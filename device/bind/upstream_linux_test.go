package bind

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// maxStream bounds the bytes that are under way, so that they fit the socket buffer
// of an unprivileged user.
const maxStream = 90_000

// stream returns a batch of datagrams in runs of equal, random size.
func stream(r *rand.Rand) [][]byte {
	var bufs [][]byte
	total := 0
	for len(bufs) < conn.IdealBatchSize {
		size := r.IntN(1501)
		if r.IntN(20) == 0 {
			size = r.IntN(65508)
		}
		for range 1 + r.IntN(1+r.IntN(80)) {
			if total += size; total > maxStream || len(bufs) == conn.IdealBatchSize {
				return bufs
			}
			bufs = append(bufs, random(r, size))
		}
		if r.IntN(2) == 0 && size > 0 { // a smaller last one, which may be empty
			bufs = append(bufs, random(r, r.IntN(size)))
		}
		if r.IntN(8) == 0 {
			return bufs
		}
	}
	return bufs[:conn.IdealBatchSize]
}

// random returns a datagram with unused space behind it, as in a device's buffers.
func random(r *rand.Rand, size int) []byte {
	buf := make([]byte, size, size+65535)
	for i := range buf {
		buf[i] = byte(r.Uint32())
	}
	return buf
}

// This bind and upstream's understand each other: what one sends, the other
// receives, in order and with the same sender.
func TestLikeUpstream(t *testing.T) {
	binds := []struct {
		name string
		open func() conn.Bind
	}{
		{"upstream", conn.NewStdNetBind},
		{"ours", func() conn.Bind { return New(nil) }},
		{"ours without offload", func() conn.Bind {
			b := New(nil)
			b.kernel.listen = func(network string, port uint16) (*socket, error) {
				s, err := listen(network, port)
				if err != nil {
					return nil, err
				}
				s.segment.Store(false)
				s.gro = false
				return s, setOption(s, unix.SOL_UDP, unix.UDP_GRO, 0)
			}
			return b
		}},
	}
	for _, from := range binds {
		for _, to := range binds {
			if from.name == "upstream" && to.name == "upstream" {
				continue
			}
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				a, b := from.open(), to.open()
				_, fromPort := open(t, a)
				fns, port := open(t, b)
				exchange(t, parse(t, a, local4(port)), local4(fromPort), a, fns[0])
				exchange(t, parse(t, a, local6(port)), local6(fromPort), a, fns[1])
			})
		}
	}
}

// exchange sends streams from a to ep and compares what fn receives.
func exchange(t *testing.T, ep conn.Endpoint, sender netip.AddrPort, a conn.Bind, fn conn.ReceiveFunc) {
	t.Helper()
	r, in := rand.New(rand.NewPCG(1, 2)), newBatch()
	for round := range 25 {
		sent := stream(r)
		var want [][]byte
		for _, d := range sent {
			if len(d) > 0 { // the device ignores empty datagrams
				want = append(want, bytes.Clone(d))
			}
		}
		if err := a.Send(sent, ep); err != nil {
			t.Fatal(err)
		}
		for len(want) > 0 {
			in.receive(t, fn, func(d []byte, ep conn.Endpoint) {
				if len(want) == 0 {
					t.Fatalf("round %d: a datagram of %d bytes too many", round, len(d))
				}
				if !bytes.Equal(d, want[0]) {
					t.Fatalf("round %d: %s, want %s", round, brief(d), brief(want[0]))
				}
				if ep.DstToString() != sender.String() || ep.DstIP() != sender.Addr() || ep.SrcIP().IsValid() && ep.SrcIP() != sender.Addr() {
					t.Fatalf("from %s at %s", ep.DstToString(), ep.SrcIP())
				}
				want = want[1:]
			})
		}
	}
}

func brief(d []byte) string { return fmt.Sprintf("%d bytes %x…", len(d), d[:min(4, len(d))]) }
