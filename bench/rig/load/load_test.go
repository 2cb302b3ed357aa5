package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server on loopback until the test ends, and returns its client.
func serve(t *testing.T, change func(*Server)) *Client {
	t.Helper()
	tcp, udp, err := Listen(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{TCP: tcp, UDP: udp, Limits: DefaultLimits()}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &Client{Dial: Dial, Server: netip.MustParseAddrPort(tcp.Addr().String()), Congestion: "cubic"}
}

func TestTCP(t *testing.T) {
	for _, tt := range []struct {
		name string
		test TCP
	}{
		{"up", TCP{Up: 1}},
		{"down", TCP{Down: 3}},
		{"both", TCP{Up: 2, Down: 2}},
		{"paced", TCP{Up: 1, Rate: 1e8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, nil)
			tt.test.Warmup, tt.test.Window = 20*time.Millisecond, 60*time.Millisecond
			r, err := c.TCP(t.Context(), tt.test)
			if err != nil {
				t.Fatal(err)
			}
			if (r.Up > 0) != (tt.test.Up > 0) || (r.Down > 0) != (tt.test.Down > 0) {
				t.Errorf("goodput up %.0f and down %.0f bit/s of %+v", r.Up, r.Down, tt.test)
			}
			if window := (r.Up + r.Down) / 8 * tt.test.Window.Seconds(); float64(r.Bytes) < window {
				t.Errorf("%d bytes in total are less than the window's %.0f", r.Bytes, window)
			}
			if !r.Counted {
				t.Error("retransmits of kernel connections are not counted")
			}
			// On a busy machine a sender can be late, but never early.
			most := tt.test.Rate / 8 * (tt.test.Warmup + tt.test.Window + slack).Seconds()
			if tt.test.Rate > 0 && float64(r.Bytes) > most+2*pacedSize {
				t.Errorf("%d bytes were sent, pacing allows %.0f", r.Bytes, most)
			}
		})
	}
}

func TestUDP(t *testing.T) {
	c := serve(t, nil)
	r, err := c.UDP(t.Context(), UDP{Payload: 64, Duration: 50 * time.Millisecond, Rate: 1e6})
	if err != nil {
		t.Fatal(err)
	}
	// 1 Mb/s of 64 bytes are 97 datagrams in that time.
	if r.Sent == 0 || r.Sent > 98 || r.Received == 0 || r.Received > r.Sent {
		t.Errorf("%d sent, %d received", r.Sent, r.Received)
	}
	if _, err := c.UDP(t.Context(), UDP{Payload: headerSize - 1, Duration: time.Millisecond}); err == nil {
		t.Error("a payload smaller than its header was sent")
	}
}

// oneByOne hides that a connection is the kernel's, so that it looks like one of a
// netstack.
type oneByOne struct{ net.Conn }

func (o oneByOne) CloseWrite() error { return closeWrite(o.Conn) }

func TestOtherStacks(t *testing.T) {
	c := serve(t, func(s *Server) { s.UDP = struct{ net.PacketConn }{s.UDP} })
	c.Dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		conn, err := Dial(ctx, network, to)
		return oneByOne{conn}, err
	}
	u, err := c.UDP(t.Context(), UDP{Payload: 512, Duration: 20 * time.Millisecond, Rate: 1e7})
	if err != nil || u.Received == 0 {
		t.Errorf("UDP: %+v, %v", u, err)
	}
	r, err := c.TCP(t.Context(), TCP{Up: 1, Window: 20 * time.Millisecond})
	if err != nil || r.Up == 0 || r.Counted {
		t.Errorf("TCP: %+v, %v", r, err)
	}
}

func TestRTT(t *testing.T) {
	c := serve(t, nil)
	trips, err := c.RTT(t.Context(), time.Millisecond, 30*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if len(trips) != 30 {
		t.Errorf("%d round trips, want 30", len(trips))
	}
	for i, d := range trips {
		if d <= 0 || i > 0 && d < trips[i-1] {
			t.Errorf("round trip %d: %s, out of order or not positive", i, d)
		}
	}
	if d, err := c.Connect(t.Context()); err != nil || d <= 0 {
		t.Errorf("Connect = %s, %v", d, err)
	}
}

func TestRefusals(t *testing.T) {
	second := time.Second
	for _, tt := range []struct {
		name   string
		change func(*Server)
		test   TCP
		want   string
	}{
		{"streams", func(s *Server) { s.Limits.Streams = 2 }, TCP{Up: 3, Window: second}, "allows 1 to 2"},
		{"none", nil, TCP{Window: second}, "0 and 0 streams"},
		{"time", func(s *Server) { s.Limits.Time = second }, TCP{Up: 1, Window: 2 * second}, "allows up to 1s"},
		{"overflow", nil, TCP{Up: 1, Window: 1 << 62}, "allows up to"},
		{"negative", nil, TCP{Up: 1, Warmup: -second, Window: second}, "allows up to"},
		{"busy", func(s *Server) { s.Limits.Tests = 0; s.Limits.Streams = 1 }, TCP{Up: 1, Window: second}, ""},
		{"stranger", func(s *Server) { s.Admit = func(netip.Addr) bool { return false } }, TCP{Up: 1, Window: second}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, tt.change)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := c.TCP(ctx, tt.test); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestCongestionUnknown(t *testing.T) {
	c := serve(t, nil)
	c.Congestion = "nosuch"
	_, err := c.TCP(t.Context(), TCP{Up: 1, Window: time.Second})
	if err == nil || !strings.Contains(err.Error(), `"nosuch" is not available`) {
		t.Errorf("error %v", err)
	}
}

// TestForeign: the server survives clients that don't speak the protocol.
func TestForeign(t *testing.T) {
	c := serve(t, nil)
	for _, text := range []string{
		"", "\n", "GET / HTTP/1.1\r\n\r\n", "{}\n", `{"protocol":"wirespan.load/1"}` + "\n",
		`{"protocol":"wirespan.load/1","attach":7}` + "\n", strings.Repeat("x", 2*maxLine),
		`{"protocol":"wirespan.load/1","test":{"udp":true,"up":-1,"window":1}}` + "\n",
	} {
		conn, err := c.Dial(t.Context(), "tcp", c.Server)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		_ = closeWrite(conn)
		_, _ = io.Copy(io.Discard, conn) // until the server closes
		_ = conn.Close()
	}
	if _, err := c.RTT(t.Context(), time.Millisecond, time.Millisecond); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// TestFarEndGoes: a test ends at once when its caller's context does.
func TestFarEndGoes(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	var dials atomic.Int32
	c := serve(t, nil)
	c.Dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		if dials.Add(1) == 3 { // control and first stream are open
			cancel(gone)
		}
		return Dial(ctx, network, to)
	}
	if _, err := c.TCP(ctx, TCP{Up: 4, Window: 30 * time.Second}); err == nil {
		t.Error("a cancelled test ended without an error")
	}
}

func TestSearch(t *testing.T) {
	for _, tt := range []struct {
		name                    string
		capacity, sender, floor float64 // bit/s; floor is what arrives of an overload
		want                    float64
	}{
		{"network", 500e6, 5e9, 400e6, 500e6},
		{"collapse", 800e6, 5e9, 10e6, 800e6},
		{"sender", 9e9, 2e9, 9e9, 2e9},
		{"nothing", 1e3, 1e9, 1e3, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s search
			steps := 0
			for offer, ok := 0.0, true; ok; steps++ {
				sent := tt.sender
				if offer > 0 {
					sent = min(offer, tt.sender)
				}
				received, loss := sent, 0.0
				if sent > tt.capacity {
					received = tt.floor
					loss = 1 - received/sent
				}
				offer, ok = s.saw(sent, received, loss)
			}
			if s.best > tt.want || s.best < tt.want*0.8 {
				t.Errorf("found %.0f bit/s, want %.0f or a little less", s.best, tt.want)
			}
			if steps > searchSteps {
				t.Errorf("it took %d steps", steps)
			}
		})
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"protocol":"wirespan.load/1","test":{"up":1,"window":5}}` + "\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		near, far := net.Pipe()
		go func() {
			_, _ = far.Write(data)
			_ = far.Close()
		}()
		defer near.Close()
		var h hello
		if receive(near, &h) != nil || h.Test == nil {
			return
		}
		s := &Server{Limits: DefaultLimits(), sessions: make(map[uint64]*session)}
		if _, ss, err := s.open(h.Test, func() {}); err == nil {
			if d := ss.test.planned(); d <= 0 || d > s.Limits.Time || ss.test.Up > s.Limits.Streams || ss.test.Down > s.Limits.Streams {
				t.Errorf("a test of %s with %d and %d streams was accepted", d, ss.test.Up, ss.test.Down)
			}
		}
	})
}
