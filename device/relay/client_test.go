package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/device/relay/turn"
)

// script answers requests as a test says. It hands out the address relayed.
type script struct {
	t      *testing.T
	conns  int
	asked  map[int]int // requests by method that had credentials
	answer func(m *turn.Message) (code int, ok bool)
	silent atomic.Bool

	relayed netip.AddrPort // zero: the variable of that name
}

var (
	relayed  = netip.MustParseAddrPort("198.51.100.1:40000")
	peer     = netip.MustParseAddrPort("192.0.2.1:51820")
	password = NewPassword("password")
	session1 = turn.Key("user", "realm", "password")
)

func (s *script) dial(context.Context) (net.Conn, error) {
	a, b := net.Pipe()
	s.conns++
	go func() {
		frames := turn.NewFrameReader(b)
		for {
			frame, err := frames.Next()
			if err != nil {
				return
			}
			var m turn.Message
			if !turn.Is(frame) || turn.Parse(&m, frame) != nil || m.Class != turn.Request || s.silent.Load() {
				continue
			}
			if reply := s.reply(&m); reply != nil {
				_, _ = b.Write(reply)
			}
		}
	}()
	return a, nil
}

func (s *script) reply(m *turn.Message) []byte {
	code := turn.CodeUnauthorized
	if m.Protected() {
		s.asked[m.Method]++
		var ok bool
		if code, ok = s.answer(m); !ok {
			return nil
		}
	}
	class := turn.Success
	if code != 0 {
		class = turn.Failure
	}
	r := turn.Begin(nil, m.Method, class, m.ID)
	switch {
	case code != 0:
		r.Bytes = append(r.Bytes, 0, 9, 0, 4, 0, 0, byte(code/100), byte(code%100)) // ERROR-CODE, REALM, NONCE
		r.Bytes = append(r.Bytes, "\x00\x14\x00\x05realm\x00\x00\x00\x00\x15\x00\x05nonce\x00\x00\x00"...)
	case m.Method == turn.Allocate:
		at := len(r.Bytes)
		if !s.relayed.IsValid() {
			s.relayed = relayed
		}
		r.Peer(s.relayed)
		r.Bytes[at+1] = 0x16 // XOR-RELAYED-ADDRESS
		r.Lifetime(600)
	}
	r.Sign(turn.Auth{Username: "user", Key: session1})
	return r.Finish()
}

func start(t *testing.T, s *script) *Client {
	t.Helper()
	s.t, s.asked = t, map[int]int{}
	c, err := New(Config{
		Dial: s.dial, Stream: true, Receive: func([]byte, netip.AddrPort) {},
		Credentials: func(time.Time) Credentials { return Credentials{"user", password} },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := c.Snapshot(); got.State != StateIdle {
			t.Errorf("after the end: %+v", got)
		}
	})
	return c
}

// What a server refuses is asked for again on a new connection, at a pace that fits the reason.
func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		method, code int
		conns        [2]int // within ten minutes
	}{
		"allocation: mismatch":       {turn.Allocate, turn.CodeMismatch, [2]int{15, 40}},
		"allocation: wrong user":     {turn.Allocate, turn.CodeWrongCredentials, [2]int{4, 12}},
		"allocation: quota":          {turn.Allocate, turn.CodeQuota, [2]int{4, 12}},
		"allocation: no port":        {turn.Allocate, turn.CodeCapacity, [2]int{4, 12}},
		"allocation: credentials":    {turn.Allocate, turn.CodeUnauthorized, [2]int{4, 12}},
		"allocation: always stale":   {turn.Allocate, turn.CodeStaleNonce, [2]int{15, 40}},
		"refresh: allocation lost":   {turn.Refresh, turn.CodeMismatch, [2]int{10, 40}},
		"permission: wrong user":     {turn.CreatePermission, turn.CodeWrongCredentials, [2]int{4, 12}},
		"channel: allocation lost":   {turn.ChannelBind, turn.CodeMismatch, [2]int{10, 40}},
		"permission: forbidden":      {turn.CreatePermission, turn.CodeForbidden, [2]int{1, 1}},
		"channel: forbidden":         {turn.ChannelBind, turn.CodeForbidden, [2]int{1, 1}},
		"channel: no more":           {turn.ChannelBind, turn.CodeCapacity, [2]int{1, 1}},
		"nothing is refused at all":  {0, 0, [2]int{1, 1}},
		"allocation: unknown reason": {turn.Allocate, 500, [2]int{4, 12}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answer: func(m *turn.Message) (int, bool) {
					if m.Method == tt.method {
						return tt.code, true
					}
					return 0, true
				}}
				c := start(t, s)
				c.SetPeers([]netip.AddrPort{peer})
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if s.conns < tt.conns[0] || s.conns > tt.conns[1] {
					t.Errorf("%d connections, want %v", s.conns, tt.conns)
				}
				st := c.Snapshot()
				if e := (*Error)(nil); tt.conns[1] > 1 && st.State == StateWaiting && (!errors.As(st.Err, &e) || e.Code != tt.code) {
					t.Errorf("the error is %v", st.Err)
				}
				if tt.conns[1] == 1 && (st.State != StateReady || !st.Permitted || len(st.Refused) > 0 != (tt.method == turn.CreatePermission)) {
					t.Errorf("status %+v", st)
				}
				if tt.code == turn.CodeForbidden && (s.asked[tt.method] < 8 || s.asked[tt.method] > 12) {
					t.Errorf("what is forbidden was asked for %d times", s.asked[tt.method])
				}
			})
		})
	}
}

// A nonce that has expired, and credentials, are replaced without a loss.
func TestRenewsNonceAndCredentials(t *testing.T) {
	for _, code := range []int{turn.CodeStaleNonce, turn.CodeUnauthorized} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{}
			s.answer = func(m *turn.Message) (int, bool) {
				if s.asked[m.Method]%2 == 1 && m.Method != turn.Allocate {
					return code, true
				}
				return 0, true
			}
			c := start(t, s)
			c.SetPeers([]netip.AddrPort{peer})
			time.Sleep(time.Hour)
			synctest.Wait()
			if st := c.Snapshot(); s.conns != 1 || st.Channels != 1 {
				t.Errorf("%d: %d connections, %+v", code, s.conns, st)
			}
		})
	}
}

// A server that has died is noticed by a check within seconds, and by itself soon.
func TestDeadServer(t *testing.T) {
	for name, check := range map[string]bool{"check": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{answer: func(*turn.Message) (int, bool) { return 0, true }}
				c := start(t, s)
				time.Sleep(time.Minute)
				synctest.Wait()
				s.silent.Store(true)
				limit := 30 * time.Second
				if check {
					c.Check()
					limit = 5 * time.Second
				}
				time.Sleep(limit)
				synctest.Wait()
				if st := c.Snapshot(); st.State == StateReady {
					t.Errorf("after %v: %+v", limit, st)
				}
				s.silent.Store(false)
				time.Sleep(time.Minute)
				synctest.Wait()
				if st := c.Snapshot(); st.State != StateReady {
					t.Errorf("after the server's return: %+v", st)
				}
			})
		})
	}
}

// A sender does not wait for a connection that is full.
func TestWriteToDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		s := &script{answer: func(m *turn.Message) (int, bool) {
			if m.Method == turn.Refresh {
				<-hold // reads no more
			}
			return 0, true
		}}
		c := start(t, s)
		c.SetPeers([]netip.AddrPort{peer})
		time.Sleep(time.Second)
		c.Check()
		synctest.Wait()
		began := time.Now()
		for range 2 * queueLength {
			c.WriteTo(make([]byte, 1000), peer)
		}
		if n := c.Counters(); time.Since(began) > 0 || n.DroppedFull < queueLength/2 || n.Sent+n.DroppedFull != 2*queueLength {
			t.Errorf("after %v: %+v", time.Since(began), n)
		}
		close(hold)
	})
}

// Peers beyond the bound, of the other family, or without a port are left out.
func TestSetPeersBounds(t *testing.T) {
	c, err := New(Config{
		Dial: (&script{}).dial, Receive: func([]byte, netip.AddrPort) {},
		Credentials: func(time.Time) Credentials { return Credentials{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	peers := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("192.0.2.1:0"), {}, peer, peer}
	c.SetPeers(peers)
	if got := c.wanted(); len(got) != 1 || got[0] != peer {
		t.Errorf("peers are %v", got)
	}
	for i := range 2 * MaxPeers {
		peers = append(peers, netip.AddrPortFrom(peer.Addr(), uint16(i+1)))
	}
	c.SetPeers(peers)
	if got := len(c.wanted()); got > MaxPeers || got < MaxPeers-2 {
		t.Errorf("%d peers", got)
	}
}
