package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

func startSet(t *testing.T, w *world) (*Set, *Bind) {
	t.Helper()
	b := NewBind(newSockets())
	s, err := NewSet(&Access{
		Dial: w.dial, Proxy: func(string) (*url.URL, error) { return w.proxy, nil },
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "turn.example" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.50")}, nil
		},
		Credentials: func(mesh.Relay, time.Time) Credentials { return Credentials{"user", password} },
	}, b, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		synctest.Wait()
		if left := w.allocations(); len(left) > 0 {
			t.Errorf("at the end there are allocations by %q", left)
		}
	})
	return s, b
}

// member returns a relay on 192.0.2.N, port 51820.
func member(n int) mesh.Relay {
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 51820)
	return mesh.Relay{Name: fmt.Sprint("box", n), NodeID: fmt.Sprint("node", n), Servers: []netip.AddrPort{at}}
}

func udp(n int) string { return fmt.Sprintf("udp 192.0.2.%d:51820", n) }
func tcp(n int) string { return fmt.Sprintf("tcp 192.0.2.%d:51820", n) }

func wish(want int, members ...int) mesh.RelayWish {
	w := mesh.RelayWish{Want: want, Peers: []netip.AddrPort{peer}}
	for _, n := range members {
		w.Relays = append(w.Relays, member(n))
	}
	return w
}

// within waits until the ways with an allocation are as wanted.
func within(t *testing.T, w *world, limit time.Duration, want ...string) {
	t.Helper()
	slices.Sort(want)
	began := time.Now()
	for {
		synctest.Wait()
		if got := w.allocations(); slices.Equal(got, want) {
			return
		} else if time.Since(began) > limit {
			t.Fatalf("after %v there are allocations by %q, want %q", limit, got, want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// UDP is taken where it passes; else TLS, and that through the proxy if there is one.
func TestTransports(t *testing.T) {
	for name, tt := range map[string]struct {
		up, silent []string
		proxy      string
		want       string
		transport  string
		limit      time.Duration
	}{
		"UDP":                   {up: []string{udp(1), tcp(1)}, want: udp(1), transport: "udp", limit: 100 * time.Millisecond},
		"UDP is lost":           {up: []string{tcp(1)}, silent: []string{udp(1)}, want: tcp(1), transport: "tls", limit: time.Second},
		"no socket of UDP":      {up: []string{tcp(1)}, want: tcp(1), transport: "tls", limit: 100 * time.Millisecond},
		"proxy":                 {up: []string{tcp(1), "tcp proxy.example:3128"}, silent: []string{udp(1)}, proxy: "proxy.example:3128", want: tcp(1), transport: "tls by proxy", limit: time.Second},
		"proxy, and UDP passes": {up: []string{udp(1), "tcp proxy.example:3128"}, proxy: "proxy.example:3128", want: udp(1), transport: "udp", limit: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.set(answers, tt.up...)
				w.set(silent, tt.silent...)
				if tt.proxy != "" {
					w.proxy = &url.URL{Scheme: "http", Host: tt.proxy}
				}
				s, _ := startSet(t, w)
				s.Set(wish(1, 1))
				within(t, w, tt.limit, tt.want)
				time.Sleep(time.Minute)
				within(t, w, 0, tt.want)
				got := s.Relays()
				if len(got) != 1 || got[0].Transport != tt.transport || !got[0].Relayed.IsValid() || !got[0].Permitted ||
					got[0].Server != member(1).Servers[0] || got[0].Error != "" || got[0].Relay != "box1" {
					t.Errorf("it is %+v", got)
				}
				if tt.proxy != "" {
					for _, d := range w.dialed() {
						if d == tcp(1) {
							t.Error("it was dialed past the proxy")
						}
					}
				}
			})
		})
	}
}

// Servers that are no members are reached as their URIs say.
func TestForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(answers, "udp 192.0.2.50:3478", "tcp 192.0.2.50:3478", "tcp 192.0.2.50:5349")
		s, _ := startSet(t, w)
		for server, want := range map[mesh.RelayServer]string{
			{Host: "turn.example", Port: 3478, Transport: mesh.RelayUDP}:  "udp 192.0.2.50:3478",
			{Host: "turn.example", Port: 3478, Transport: mesh.RelayTCP}:  "tcp 192.0.2.50:3478",
			{Host: "turn.example", Port: 5349, Transport: mesh.RelayTLS}:  "certificate", // it is verified
			{Host: "other.example", Port: 3478, Transport: mesh.RelayUDP}: "looking up other.example",
		} {
			uri := server.String()
			s.Set(mesh.RelayWish{Relays: []mesh.Relay{{Name: uri, Other: server}}, Want: 1})
			time.Sleep(time.Second)
			synctest.Wait()
			got := s.Relays()
			if len(got) != 1 || got[0].Relay != uri {
				t.Fatalf("%s: %+v", uri, got)
			}
			at := w.allocations()
			if got[0].Error != "" && !strings.Contains(got[0].Error, want) || got[0].Error == "" && !slices.Equal(at, []string{want}) {
				t.Errorf("%s: %q, allocations by %q", uri, got[0].Error, at)
			}
		}
	})
}

// A relay that dies is noticed by a check, and replaced by the next one. It comes after the others
// for a minute.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(answers, udp(1), udp(2), udp(3))
		s, b := startSet(t, w)
		s.Set(wish(1, 1, 2, 3))
		within(t, w, time.Second, udp(1))
		ep, err := b.ParseEndpoint(mesh.Via(peer, "box1").String())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := b.Send([][]byte{make([]byte, 64)}, ep); err != nil {
			t.Error(err)
		}
		w.set(silent, udp(1))
		for range 5 { // more checks do not make it last
			s.bind.CheckRelay("box1")
			time.Sleep(100 * time.Millisecond)
		}
		within(t, w, 3*time.Second, udp(2))
		if err := b.Send([][]byte{make([]byte, 64)}, ep); !errors.As(err, new(*UnavailableError)) {
			t.Errorf("a packet by a relay without address: %v", err)
		}
		w.set(answers, udp(1))
		w.set(silent, udp(2))
		s.bind.CheckRelay("box2")
		within(t, w, 5*time.Second, udp(3)) // box1 rests
		time.Sleep(restTime)
		w.set(silent, udp(3))
		s.bind.CheckRelay("box3")
		within(t, w, 5*time.Second, udp(1))
		got := s.Relays()
		if len(got) != 3 || got[0].Error != "" || got[1].Error == "" || got[2].Error == "" || got[0].Sent != 64 {
			t.Errorf("statuses %+v", got)
		}
	})
}

// An answer to a check keeps the address, and initiations without an answer check by themselves.
func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(answers, udp(1), udp(2))
		s, b := startSet(t, w)
		s.Set(wish(1, 1, 2))
		within(t, w, time.Second, udp(1))
		for range 100 {
			s.bind.CheckRelay("box1")
			time.Sleep(300 * time.Millisecond)
		}
		within(t, w, 0, udp(1))
		ep, _ := b.ParseEndpoint(mesh.Via(peer, "box1").String())
		w.set(silent, udp(1))
		initiation := make([]byte, 148)
		initiation[0] = 1
		for range 2 {
			_ = b.Send([][]byte{initiation}, ep)
			time.Sleep(5 * time.Second)
		}
		within(t, w, 0, udp(2))
	})
}

// With two, the second one is there already when the first one dies, and a third one is found.
func TestTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(answers, udp(1), udp(2), udp(3))
		s, b := startSet(t, w)
		s.Set(wish(2, 1, 2, 3))
		within(t, w, time.Second, udp(1), udp(2))
		w.set(silent, udp(1))
		s.bind.CheckRelay("box1")
		within(t, w, 5*time.Second, udp(2), udp(3))
		s.Set(wish(1, 1, 2, 3))
		within(t, w, 0, udp(2))
		s.Set(wish(1, 3, 2)) // what works is kept
		time.Sleep(time.Minute)
		within(t, w, 0, udp(2))
		s.Set(wish(1, 3))
		within(t, w, time.Second, udp(3))
		s.Set(wish(0, 3))
		within(t, w, 0)
		if got := s.Relays(); len(got) != 0 {
			t.Errorf("statuses %+v", got)
		}
		if n := len(*b.clients.Load()); n != 0 {
			t.Errorf("%d clients are left", n)
		}
	})
}

// A relay that does not answer delays the next one by hedgeTime, and many are tried few at a time.
func TestManyDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(answers, udp(9))
		for n := 1; n <= 8; n++ {
			w.set(silent, udp(n), tcp(n))
		}
		s, _ := startSet(t, w)
		s.Set(wish(1, 1, 9))
		within(t, w, hedgeTime+time.Second, udp(9))
		s.Set(wish(0))
		within(t, w, time.Second)
		s.Set(wish(1, 1, 2, 3, 4, 5, 6, 7, 8))
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			tries := 0
			for _, r := range s.Relays() {
				if r.Error == "" {
					tries++
				}
			}
			if tries > maxTries {
				t.Fatalf("%d relays are tried at the same time", tries)
			}
		}
		if n := len(w.dialed()); n > 150 {
			t.Errorf("%d connections in a minute", n)
		}
	})
}

// The only relay is asked again and again, at a pace that fits the reason.
func TestOnlyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(answers, udp(1), tcp(1))
		s, _ := startSet(t, w)
		s.Set(wish(1, 1))
		within(t, w, time.Second, udp(1))
		w.set(silent, udp(1), tcp(1))
		s.bind.CheckRelay("box1")
		time.Sleep(time.Minute)
		w.set(answers, udp(1))
		within(t, w, 40*time.Second, udp(1))
		w.mu.Lock()
		w.refuses = turn.CodeQuota
		w.mu.Unlock()
		s.Set(wish(0, 1))
		within(t, w, time.Second)
		w.dialed()
		s.Set(wish(1, 1))
		time.Sleep(10 * time.Minute)
		if got := w.dialed(); len(got) > 15 || slices.Contains(got, tcp(1)) {
			t.Errorf("what refuses is asked by %q", got)
		}
		if got := s.Relays(); len(got) != 1 || !strings.Contains(got[0].Error, "486") {
			t.Errorf("statuses %+v", got)
		}
	})
}

// When the host moves, addresses are checked, and those that are lost are asked for anew on the
// same relay.
func TestMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set(answers, udp(1), udp(2))
		s, _ := startSet(t, w)
		moving := wish(1, 1, 2)
		s.Set(moving)
		within(t, w, time.Second, udp(1))
		before := s.Relays()[0].Relayed
		time.Sleep(time.Minute)
		moving.Moves++
		s.Set(moving) // the old connection works
		time.Sleep(time.Minute)
		synctest.Wait()
		if now := s.Relays()[0].Relayed; now != before {
			t.Errorf("the address was %v, is %v", before, now)
		}
		moving.Moves++
		w.set(silent, udp(1))
		s.Set(moving)
		time.Sleep(3200 * time.Millisecond)
		w.set(answers, udp(1)) // the new one works, the old one has lost a request
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if now := s.Relays()[0]; now.Relayed == before || !now.Relayed.IsValid() || now.Relay != "box1" {
			t.Errorf("after a move: %+v", now)
		}
	})
}

func TestIncompleteAccess(t *testing.T) {
	if _, err := NewSet(&Access{Dial: newWorld(t).dial}, NewBind(newSockets()), nil); err == nil {
		t.Error("it was taken")
	}
}
