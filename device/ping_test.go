package device

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/offload"
)

// fakePlane records what is injected and written.
type fakePlane struct {
	tun.Device
	mu                sync.Mutex
	injected, written [][]byte
}

func (f *fakePlane) Inject(p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.injected = append(f.injected, p)
	return nil
}

func (f *fakePlane) Write(bufs [][]byte, offset int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range bufs {
		f.written = append(f.written, b[offset:])
	}
	return len(bufs), nil
}

func (*fakePlane) Configure(int, []netip.Prefix) error { return nil }

func (*fakePlane) Source(dst netip.Addr) (netip.Addr, error) {
	if dst.Is4() {
		return netip.MustParseAddr("192.0.2.1"), nil
	}
	return netip.MustParseAddr("fd00::1"), nil
}

// reply returns the reply to an echo request. It does not mend the checksum.
func reply(request []byte) []byte {
	b := append([]byte(nil), request...)
	if b[0]>>4 == 6 {
		copy(b[8:24], request[24:40])
		copy(b[24:40], request[8:24])
		b[40] = 129
		return b
	}
	copy(b[12:16], request[16:20])
	copy(b[16:20], request[12:16])
	b[20] = 0
	return b
}

func TestPingerTakesOnlyItsReplies(t *testing.T) {
	for _, to := range []string{"192.0.2.2", "fd00::2"} {
		synctest.Test(t, func(t *testing.T) {
			plane := &fakePlane{}
			p := newPinger(plane)
			var rtt time.Duration
			var err error
			go func() { rtt, err = p.ping(t.Context(), netip.MustParseAddr(to), nil) }()
			synctest.Wait()
			request := plane.injected[0]
			if request[0]>>4 == 4 && offload.Fold(offload.Checksum(request[:20], 0)) != 0xffff {
				t.Error("IPv4 header checksum is wrong")
			}
			good := reply(request)
			header := len(good) - icmpHeader - pingSize
			changed := func(i int) []byte {
				b := append([]byte(nil), good...)
				b[i] ^= 1
				return b
			}
			others := [][]byte{
				request, changed(header), changed(header + 1), changed(header + 4), changed(header + 7),
				changed(header + 8), changed(len(good) - 1), changed(header - 20), good[:len(good)-1],
				append(changed(0), 0),
				{},
				{0x60},
				{0x45},
			}
			if request[0]>>4 == 4 {
				others[7] = changed(15) // the sender
			} else {
				others[7] = changed(23)
			}
			time.Sleep(3 * time.Second)
			batch := append([][]byte{good}, others...)
			if _, err := p.Write(batch, 0); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err != nil || rtt != 3*time.Second {
				t.Errorf("ping = %v, %v", rtt, err)
			}
			if len(plane.written) != len(others) {
				t.Fatalf("%d packets came through, want %d", len(plane.written), len(others))
			}
			for i, b := range plane.written {
				if string(b) != string(others[i]) {
					t.Errorf("packet %d was changed", i)
				}
			}
			if _, err := p.Write([][]byte{good}, 0); err != nil || len(plane.written) != len(others)+1 {
				t.Error("a late duplicate belongs to no ping any more, but did not come through")
			}
			if p.pending.Load() != 0 || len(p.pings) != 0 {
				t.Error("the ping is still registered")
			}
		})
	}
}

func TestPingTimeoutAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPinger(&fakePlane{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error, maxPings)
		for range maxPings {
			go func() {
				_, err := p.ping(ctx, netip.MustParseAddr("fd00::2"), nil)
				errs <- err
			}()
		}
		synctest.Wait()
		if _, err := p.ping(ctx, netip.MustParseAddr("fd00::2"), nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ping beyond the bound: %v", err)
		}
		for range maxPings {
			if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("unanswered ping: %v", err)
			}
		}
		if p.pending.Load() != 0 || len(p.pings) != 0 {
			t.Error("pings are still registered")
		}
	})
}

func FuzzPingerWrite(f *testing.F) {
	from, to := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	f.Add(reply(echoRequest(from, to, [4]byte{1}, token{2}, pingSize)))
	f.Add(reply(echoRequest(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), [4]byte{1}, token{2}, pingSize)))
	f.Fuzz(func(t *testing.T, packet []byte) {
		plane := &fakePlane{}
		p := newPinger(plane)
		answered := false
		ping := pendingPing{to: to, id: [4]byte{1}, size: pingSize, reply: func(time.Time) { answered = true }}
		if err := p.begin(token{2}, ping); err != nil {
			t.Fatal(err)
		}
		_, _ = p.Write([][]byte{packet}, 0)
		if taken := len(plane.written) == 0; taken != answered {
			t.Errorf("taken %v, answered %v", taken, answered)
		}
	})
}
