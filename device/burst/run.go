package burst

import "net/netip"

// Bounds of a burst.
const (
	// Size is what a buffer needs for any burst that is received.
	Size = 1 << 16
	// maxRun is the payload of the largest UDP datagram over IPv6, maxSegments a limit of kernels.
	maxRun      = 1<<16 - 1 - 8 - 40
	maxSegments = 64
)

// Socket is a UDP socket that moves bursts.
type Socket interface {
	// ReadBurst receives datagrams of one sender into a buffer of Size. All have the same size but
	// the last, which may be smaller.
	ReadBurst(b []byte) (n, size int, from netip.AddrPort, err error)
	// WriteBurst sends a burst of the same form. The address is zero on a connected socket.
	WriteBurst(b []byte, size int, to netip.AddrPort) error
}

// Cut returns the first datagram of a burst, and the others.
func Cut(b []byte, size int) (first, rest []byte) {
	n := min(size, len(b))
	return b[:n:n], b[n:]
}

// Run collects datagrams that leave in one burst. Use NewRun.
type Run struct {
	Bytes []byte
	Size  int // of each datagram but the last
	count int
	last  int
}

// NewRun returns an empty run.
func NewRun() *Run { return &Run{Bytes: make([]byte, 0, Size)} }

// Next returns room for one more datagram; nil if that can't leave with those that are there. An
// empty run has room for any datagram.
func (r *Run) Next(size int) []byte {
	at := len(r.Bytes)
	if r.count == 0 {
		r.Size = size
	} else if r.count == maxSegments || r.last != r.Size || size > r.Size || at+size > maxRun {
		return nil
	}
	r.count++
	r.last = size
	r.Bytes = r.Bytes[:at+size]
	return r.Bytes[at:]
}

// Reset empties the run.
func (r *Run) Reset() { r.Bytes, r.count = r.Bytes[:0], 0 }
