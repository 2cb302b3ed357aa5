package device

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/inflight"
	"github.com/wirespan/wirespan/device/offload"
)

// fakePlane records what is injected and written.
type fakePlane struct {
	tun.Device
	mu                sync.Mutex
	injected, written [][]byte
	out               [][]byte // for Read
}

func (f *fakePlane) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for i, b := range f.out {
		sizes[i] = copy(bufs[i][offset:], b)
	}
	return len(f.out), nil
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

func (*fakePlane) MTU() (int, error) { return 1420, nil }

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
			p := newPinger(plane, nil)
			var rtt time.Duration
			var err error
			go func() { rtt, err = p.ping(t.Context(), netip.MustParseAddr(to), 0, nil) }()
			synctest.Wait()
			request := plane.injected[0]
			if request[0]>>4 == 4 && offload.Fold(offload.Checksum(request[:20], 0)) != 0xffff {
				t.Error("IPv4 header checksum is wrong")
			}
			good := reply(request)
			header := len(good) - icmpHeader - tokenSize
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

// A reply must have the data that was sent, as much of it as was sent.
func TestPingChecksReplies(t *testing.T) {
	for _, to := range []string{"192.0.2.2", "fd00::2"} {
		for name, damage := range map[string]func([]byte) []byte{
			"other":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
			"shortened":  func(b []byte) []byte { return b[:len(b)-1] },
			"lengthened": func(b []byte) []byte { return append(b, 0) },
		} {
			synctest.Test(t, func(t *testing.T) {
				plane := &fakePlane{}
				p := newPinger(plane, nil)
				var err error
				go func() { _, err = p.ping(t.Context(), netip.MustParseAddr(to), 1000, nil) }()
				synctest.Wait()
				if want := 1000 + icmpHeader + ipHeader(netip.MustParseAddr(to)); len(plane.injected[0]) != want {
					t.Errorf("a request of %d bytes, want %d", len(plane.injected[0]), want)
				}
				_, _ = p.Write([][]byte{damage(reply(plane.injected[0]))}, 0)
				synctest.Wait()
				if err == nil || len(plane.written) != 0 {
					t.Errorf("%s reply: %v", name, err)
				}
			})
		}
	}
}

// A request must fit the tunnel.
func TestPingTooLarge(t *testing.T) {
	for to, most := range map[string]int{"192.0.2.2": 1392, "fd00::2": 1372} {
		p := newPinger(&fakePlane{}, nil)
		_, err := p.ping(t.Context(), netip.MustParseAddr(to), most+1, nil)
		if err == nil || !strings.Contains(err.Error(), strconv.Itoa(most)) {
			t.Errorf("%d bytes to %s: %v", most+1, to, err)
		}
	}
}

// Probes are marked when they go out, and nothing else is.
func TestProbesAreMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plane := &fakePlane{}
		p := newPinger(plane, nil)
		to := netip.MustParseAddr("fd00::2")
		var took time.Duration
		if err := errors.Join(p.echo(to, func(time.Duration) {}), p.probe(to, 1216, func(rtt time.Duration) { took = rtt })); err != nil {
			t.Fatal(err)
		}
		plane.out = append(plane.injected, reply(plane.injected[1]))
		const offset = 16
		bufs, sizes := [][]byte{make([]byte, 2048), make([]byte, 2048), make([]byte, 2048)}, make([]int, 3)
		n, err := p.Read(bufs, sizes, offset)
		if n != 3 || err != nil || sizes[1] != 1216 {
			t.Fatalf("%d packets of sizes %v: %v", n, sizes, err)
		}
		for i, want := range []inflight.Mark{inflight.Unmarked, inflight.Probe, inflight.Unmarked} {
			if got := inflight.TakeMark(bufs[i][:sizes[i]+32]); got != want {
				t.Errorf("the mark of packet %d is %v, want %v", i, got, want)
			}
		}
		time.Sleep(time.Second)
		_, _ = p.Write([][]byte{plane.out[2]}, 0)
		synctest.Wait()
		if took != time.Second || p.whole.Load() != 0 {
			t.Errorf("answered after %v, %d probes are left", took, p.whole.Load())
		}
	})
}

// The answer to a peer's probe is marked once; those to other echo requests are not.
func TestAnswersToProbesAreMarked(t *testing.T) {
	for _, to := range []string{"192.0.2.2", "fd00::2"} {
		synctest.Test(t, func(t *testing.T) {
			from := &fakePlane{}
			sender := newPinger(from, nil)
			addr := netip.MustParseAddr(to)
			done := func(time.Duration) {}
			if err := errors.Join(sender.probe(addr, 1216, done), sender.echo(addr, done), sender.probe(addr, 1200, done)); err != nil {
				t.Fatal(err)
			}
			requests := from.injected
			requests[2][900] ^= 1 // of another program
			var probed []netip.Addr
			plane := &fakePlane{}
			p := newPinger(plane, func(from netip.Addr) { probed = append(probed, from) })
			if n, err := p.Write(slices.Clone(requests), 0); n != 3 || err != nil || len(plane.written) != 3 {
				t.Fatalf("%d of %d requests passed: %v", len(plane.written), n, err)
			}
			source, _ := from.Source(addr)
			if !slices.Equal(probed, []netip.Addr{source}) {
				t.Errorf("probes of %v were noted, want one of %v", probed, source)
			}
			plane.out = [][]byte{reply(requests[0]), reply(requests[1]), reply(requests[2]), reply(requests[0])}
			bufs, sizes := make([][]byte, 4), make([]int, 4)
			for i := range bufs {
				bufs[i] = make([]byte, 2048)
			}
			_, _ = p.Read(bufs, sizes, 16)
			for i, want := range []inflight.Mark{inflight.Answer, inflight.Unmarked, inflight.Unmarked, inflight.Unmarked} {
				if got := inflight.TakeMark(bufs[i][:sizes[i]+32]); got != want {
					t.Errorf("the mark of packet %d is %v, want %v", i, got, want)
				}
			}
		})
	}
}

// Probes that are never answered are forgotten, and no more than a few are remembered.
func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := answers{tokens: map[token]bool{}}
		for i := range 2 * maxAnswers {
			if got, want := a.expect(token{byte(i)}), i < maxAnswers; got != want {
				t.Errorf("probe %d is remembered: %v", i, got)
			}
		}
		time.Sleep(echoTime)
		synctest.Wait()
		if a.pending.Load() != 0 || len(a.tokens) != 0 {
			t.Errorf("%d probes are remembered after %v", len(a.tokens), echoTime)
		}
	})
}

func TestPingTimeoutAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPinger(&fakePlane{}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error, maxPings)
		for range maxPings {
			go func() {
				_, err := p.ping(ctx, netip.MustParseAddr("fd00::2"), 0, nil)
				errs <- err
			}()
		}
		synctest.Wait()
		if _, err := p.ping(ctx, netip.MustParseAddr("fd00::2"), 0, nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
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
	f.Add(reply(echoRequest(from, &pendingPing{to: to, id: [4]byte{1}, size: 64}, token{2})))
	f.Add(reply(echoRequest(netip.MustParseAddr("192.0.2.1"), &pendingPing{to: netip.MustParseAddr("192.0.2.2"), id: [4]byte{1}, size: 64}, token{2})))
	f.Fuzz(func(t *testing.T, packet []byte) {
		plane := &fakePlane{}
		p := newPinger(plane, nil)
		answered := false
		ping := pendingPing{to: to, id: [4]byte{1}, size: 64, reply: func(time.Time, bool) { answered = true }}
		if err := p.begin(token{2}, ping); err != nil {
			t.Fatal(err)
		}
		_, _ = p.Write([][]byte{packet}, 0)
		if taken := len(plane.written) == 0; taken != answered {
			t.Errorf("taken %v, answered %v", taken, answered)
		}
	})
}
