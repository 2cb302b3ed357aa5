package clamp

import (
	"bytes"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/offload"
)

// TUN is a data plane whose packets fit. Use New.
type TUN struct {
	tun.Device
	table atomic.Pointer[Table] // nil: nothing is limited

	// The packets that did not fit in the last batch, one after another, and their sizes.
	data  []byte
	sizes []int
	next  int // index of the first that waits
	at    int // where it begins

	teller teller
	told   [1][]byte
}

// New returns a TUN without limits.
func New(t tun.Device) *TUN { return &TUN{Device: t} }

// Set replaces the limits; nil: there are none.
func (t *TUN) Set(table *Table) { t.table.Store(table) }

// Read reads a batch.
func (t *TUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	table := t.table.Load()
	if table == nil && len(t.sizes) == 0 {
		return t.Device.Read(bufs, sizes, offset)
	}
	if len(t.sizes) > 0 {
		return t.deliver(bufs, sizes, offset), nil
	}
	n, err := t.Device.Read(bufs, sizes, offset)
	l := limiter{table: table}
	for i := range n {
		b := bufs[i][offset : offset+sizes[i]]
		if !t.tooLarge(&l, b) {
			continue
		}
		// It needs the place of those that follow.
		for j, size := range sizes[i:n] {
			t.keep(&l, bufs[i+j][offset:offset+size])
		}
		return i + t.deliver(bufs[i:], sizes[i:], offset), err
	}
	return n, err
}

// limiter applies a table to packets that go out.
type limiter struct {
	table *Table
	last  []byte // destination of the packet before; segments of a super-packet share it
	limit int    // of last
}

// of returns the limit of a destination.
func (l *limiter) of(to []byte) int {
	if !bytes.Equal(l.last, to) {
		l.last, l.limit = to, l.table.limit(to)
	}
	return l.limit
}

// tooLarge reports whether a packet is to be cut. It clamps a SYN, and tells the sender of a
// packet that can't be cut.
func (t *TUN) tooLarge(l *limiter, b []byte) bool {
	p, ok := parse(b)
	if !ok {
		t.tell(l, b)
		return false
	}
	limit := l.of(p.to)
	if limit == 0 {
		return false
	}
	if p.flags()&flagSYN != 0 {
		p.clampMSS(limit)
	}
	return len(b) > limit && p.flags()&(flagSYN|flagRST|flagURG) == 0
}

// tell tells the sender of a packet if it is too large.
func (t *TUN) tell(l *limiter, b []byte) {
	to := destination(b)
	if len(b) <= smallest || to == nil {
		return
	}
	limit := l.of(to)
	if limit == 0 || len(b) <= limit {
		return
	}
	if t.told[0] = t.teller.tell(b, limit, time.Now()); t.told[0] != nil {
		_, _ = t.Device.Write(t.told[:], headroom) // like any ICMP message, it may be lost
	}
}

// keep has a packet wait, in as many pieces as it needs. They are of one size: should the path
// become narrower still, none is lost, instead of the larger ones alone.
func (t *TUN) keep(l *limiter, b []byte) {
	if t.tooLarge(l, b) {
		if layout, ok := offload.Parse(b); ok && layout.Header < l.limit {
			room, total := l.limit-layout.Header, len(b)-layout.Header
			pieces := (total + room - 1) / room
			t.cut(b, layout, (total+pieces-1)/pieces)
			return
		}
	}
	t.data = append(t.data, b...)
	t.sizes = append(t.sizes, len(b))
}

// cut has the pieces of a packet wait.
func (t *TUN) cut(b []byte, layout offload.Layout, segment int) {
	s := offload.NewSegmenter(b[:layout.Header], layout, segment, len(b)-layout.Header)
	payload := b[layout.Header:]
	for i := range s.Count() {
		start := len(t.data)
		t.data = append(t.data, b[:layout.Header]...) // Finish replaces it
		t.data = append(t.data, payload[:s.Payload(i)]...)
		payload = payload[s.Payload(i):]
		t.sizes = append(t.sizes, s.Finish(t.data[start:], i))
	}
}

// deliver moves waiting packets to bufs, as many as there is room for.
func (t *TUN) deliver(bufs [][]byte, sizes []int, offset int) (n int) {
	for ; n < len(bufs) && t.next < len(t.sizes); n++ {
		size := t.sizes[t.next]
		sizes[n] = copy(bufs[n][offset:], t.data[t.at:t.at+size])
		t.next, t.at = t.next+1, t.at+size
	}
	if t.next == len(t.sizes) {
		t.data, t.sizes, t.next, t.at = t.data[:0], t.sizes[:0], 0, 0
	}
	return n
}

// Write clamps the SYN packets of a batch from peers, and writes it.
func (t *TUN) Write(bufs [][]byte, offset int) (int, error) {
	if table := t.table.Load(); table != nil {
		for _, b := range bufs {
			p, ok := parse(b[offset:])
			if !ok || p.flags()&flagSYN == 0 {
				continue
			}
			if limit := table.limit(p.from); limit != 0 {
				p.clampMSS(limit)
			}
		}
	}
	return t.Device.Write(bufs, offset)
}
