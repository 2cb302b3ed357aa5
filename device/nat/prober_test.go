package nat

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
)

// world is a network with STUN servers behind a NAT, for one prober.
type world struct {
	*Prober
	mu       sync.Mutex
	mapped   map[netip.AddrPort]netip.AddrPort // what a server answers; a server that is missing does not
	sent     []sending
	refused  error // why nothing can be sent
	forged   bool  // answers come from another address
	changes  int
	resolved map[string][]netip.Addr
}

type sending struct {
	at time.Duration
	to netip.AddrPort
}

var (
	one     = netip.MustParseAddrPort("192.0.2.1:3478")
	two     = netip.MustParseAddrPort("192.0.2.2:3478")
	outside = netip.MustParseAddrPort("203.0.113.9:4000")
	moved   = netip.MustParseAddrPort("203.0.113.9:5000")
	inside  = []netip.Addr{netip.MustParseAddr("192.168.1.2")}
)

// start runs a prober in a bubble.
func start(t *testing.T, mapped map[netip.AddrPort]netip.AddrPort, servers ...string) *world {
	w := &world{mapped: mapped, resolved: map[string][]netip.Addr{}}
	begin := time.Now()
	server := stun.NewServer(begin)
	w.Prober = New(Config{
		Send: func(msg []byte, to netip.AddrPort) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.refused != nil {
				return w.refused
			}
			w.sent = append(w.sent, sending{time.Since(begin), to})
			at, ok := w.mapped[to]
			if !ok {
				return nil
			}
			answer := server.Answer(time.Now(), msg, at)
			from := to
			if w.forged {
				from = netip.AddrPortFrom(to.Addr(), to.Port()+1)
			}
			time.AfterFunc(20*time.Millisecond, func() { w.Received(answer, from) })
			return nil
		},
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if list := w.resolved[host]; list != nil {
				return list, nil
			}
			return nil, errors.New("no such host")
		},
		Changed: func() { w.changes++ },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	w.Set(mesh.STUN{Servers: servers, Local: inside}, 51820)
	return w
}

func (w *world) wantMapped(t *testing.T, want ...netip.AddrPort) {
	t.Helper()
	if got := w.Mapped(); !slices.Equal(got, want) {
		t.Errorf("mapped addresses are %v, want %v", got, want)
	}
}

// with changes the world.
func (w *world) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// requests returns when a server was asked.
func (w *world) requests(of netip.AddrPort) (list []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sent {
		if s.to == of {
			list = append(list, s.at)
		}
	}
	return list
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestMappedAddressIsLearnedAndKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside, two: outside}, one.String(), two.String())
		pass(2 * time.Second)
		w.wantMapped(t, outside)
		pass(10 * time.Minute)
		if w.changes != 2 { // the second server tells how the NAT maps
			t.Errorf("%d signals of a change, want two", w.changes)
		}
		if got := w.Mapping(); got != mesh.BehaviourEndpointIndependent {
			t.Errorf("the mapping is %v", got)
		}
		if n := len(w.requests(one)); n < 23 || n > 26 {
			t.Errorf("the first server was asked %d times in 10 minutes, want one each 25 s", n)
		}
		if n := len(w.requests(two)); n > 4 {
			t.Errorf("the second server was asked %d times in 10 minutes, want one each 5 min", n)
		}
	})
}

func TestWithoutNATServersAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: netip.AddrPortFrom(inside[0], 51820)}, one.String())
		pass(10 * time.Minute)
		w.wantMapped(t)
		if n := len(w.requests(one)); n > 4 {
			t.Errorf("the server was asked %d times in 10 minutes, want one each 5 min", n)
		}
	})
}

func TestNewMappingIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside, two: outside}, one.String(), two.String())
		pass(time.Minute)
		w.with(func() { w.mapped[one], w.mapped[two] = moved, moved })
		pass(keepAlive + time.Second)
		w.wantMapped(t, moved)
	})
}

// A server may claim anything; what can't be is not taken.
func TestImpossibleAnswersAreRefused(t *testing.T) {
	for _, claim := range []string{"127.0.0.1:9", "255.255.255.255:9", "224.0.0.1:9", "0.0.0.0:9", "169.254.0.1:9", "[fe80::1]:9", "[ff02::1]:9", "[::]:9", "[::1]:9"} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, map[netip.AddrPort]netip.AddrPort{one: netip.MustParseAddrPort(claim)}, one.String())
			pass(10 * time.Second)
			w.wantMapped(t)
			c := w.Check(t.Context())
			if n := c.Families[0]; n.Available || n.Hairpin != nil || c.STUN[0].Error == "" {
				t.Errorf("%s: %+v, %+v", claim, n, c.STUN)
			}
		})
	}
}

// When a path was lost or found, servers are asked at once, but not twice within seconds.
func TestDoubtAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside, two: outside}, one.String(), two.String())
		pass(10 * time.Second)
		w.with(func() { w.mapped[one], w.mapped[two] = moved, moved })
		for range 10 {
			w.Doubt()
			pass(300 * time.Millisecond)
		}
		w.wantMapped(t, moved)
		if a, b := len(w.requests(one)), len(w.requests(two)); a != 2 || b != 2 {
			t.Errorf("the servers were asked %d and %d times, want twice each", a, b)
		}
	})
}

// A NAT that was away for long, with all servers, is noticed soon after it is back.
func TestLongOutageEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside}, one.String())
		pass(10 * time.Second)
		w.with(func() { delete(w.mapped, one) })
		pass(50 * time.Minute)
		w.wantMapped(t)
		w.with(func() { w.mapped[one] = moved })
		pass(retryFirst + time.Second)
		w.wantMapped(t, moved)
	})
}

func TestRetransmissionOfRFC8489(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nil, one.String())
		pass(39 * time.Second)
		sent := w.requests(one)
		var gaps []time.Duration
		for i := range sent[1:] {
			gaps = append(gaps, sent[i+1]-sent[i])
		}
		if want := []time.Duration(patient[:6]); !slices.Equal(gaps, want) {
			t.Errorf("time between requests: %v, want %v", gaps, want)
		}
		pass(time.Hour)
		if n := len(w.requests(one)); n > 8*7+7 {
			t.Errorf("%d requests in an hour to a server that never answers", n)
		}
	})
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside}, one.String())
		w.with(func() { w.forged = true })
		pass(time.Minute)
		w.wantMapped(t)
	})
	w := New(Config{})
	if w.Received(stun.AppendRequest(nil, stun.ID{1}, 0), one) {
		t.Error("a message was taken, although nothing was asked")
	}
}

// A server that goes away does not change the NAT; a host that moves does.
func TestMappingOutlivesItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside}, one.String())
		pass(time.Minute)
		w.with(func() { clear(w.mapped) })
		pass(5 * time.Minute)
		w.wantMapped(t, outside)
		w.with(func() { w.refused = syscall.ENETUNREACH })
		w.Set(mesh.STUN{Servers: []string{one.String()}, Local: nil, Moves: 1}, 51820)
		pass(2 * time.Second)
		w.wantMapped(t)
	})
}

func TestServersAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside, two: moved}, one.String())
		pass(time.Minute)
		w.Set(mesh.STUN{Servers: []string{two.String()}, Local: inside}, 51820)
		pass(2 * time.Second)
		w.wantMapped(t, moved)
		w.Set(mesh.STUN{Local: inside}, 51820)
		pass(2 * time.Second)
		w.wantMapped(t)
	})
}

func TestNamesAreLookedUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside}, "stun.example:3478")
		pass(10 * time.Second)
		w.wantMapped(t)
		w.with(func() { w.resolved["stun.example"] = []netip.Addr{one.Addr()} })
		pass(lookUpAgain)
		w.wantMapped(t, outside)
	})
}

func TestChangesOfTheHostAreProbedAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, map[netip.AddrPort]netip.AddrPort{one: outside}, one.String())
		for i := range 100 {
			w.Set(mesh.STUN{Servers: []string{one.String()}, Local: inside, Moves: i + 1}, 51820)
			pass(100 * time.Millisecond)
		}
		if n := len(w.requests(one)); n < 5 || n > 15 {
			t.Errorf("%d requests in 10 s of changes, want about one per second", n)
		}
	})
}
