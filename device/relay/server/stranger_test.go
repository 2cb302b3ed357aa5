package server

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
)

// heard is one end of a connection in memory of which its closing is heard.
type heard struct {
	net.Conn
	from   netip.AddrPort
	closed chan time.Time
}

func (h heard) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(control)) }
func (h heard) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(h.from) }

func (h heard) Close() error {
	select {
	case h.closed <- time.Now():
	default:
	}
	return h.Conn.Close()
}

// dialFrom connects to the server's listener, as wrap makes it of the server's end.
func (r *rig) dialFrom(t *testing.T, from string, wrap func(net.Conn) net.Conn) (client net.Conn, closed <-chan time.Time) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close() })
	h := heard{b, netip.MustParseAddrPort(from), make(chan time.Time, 1)}
	r.tcp.conns <- wrap(h)
	return a, h.closed
}

func asItIs(c net.Conn) net.Conn { return c }

// isClosedNow reports whether a connection of dialFrom has ended.
func isClosedNow(closed <-chan time.Time) bool {
	synctest.Wait()
	return len(closed) > 0
}

// A client of TLS that takes no answer is cut off as one that says nothing.
func TestDeafHandshake(t *testing.T) {
	cert := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		conn, closed := r.dialFrom(t, "203.0.113.5:1", func(c net.Conn) net.Conn {
			return &either{Conn: c, cfg: &tls.Config{Certificates: []tls.Certificate{cert}}}
		})
		hello := make(chan []byte, 1)
		a, b := net.Pipe()
		go func() { _ = tls.Client(a, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
		go func() {
			p := make([]byte, 4096)
			n, _ := b.Read(p)
			hello <- p[:n]
			b.Close()
		}()
		_, _ = conn.Write(<-hello)
		time.Sleep(untilAllocated + time.Second)
		if !isClosedNow(closed) {
			t.Error("it is still open")
		}
	})
}

// Strangers who take all connections, from many addresses, keep no member out; members that have an
// address keep theirs.
func TestStrangersLeaveStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{Streams: 8, StreamsPerSource: 2})
		first := r.client(t, nodeID, true)
		first.ready(t)
		var strangers []<-chan time.Time
		for i := range 32 {
			_, closed := r.dialFrom(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 114, byte(i)}), 1).String(), asItIs)
			strangers = append(strangers, closed)
			time.Sleep(time.Millisecond)
		}
		r.client(t, "node-b", true).ready(t)
		if s := first.Snapshot(); s.State != relay.StateReady || first.Counters().Allocations != 1 {
			t.Errorf("the member that was there: %+v", s)
		}
		ended := slices.IndexFunc(strangers, func(c <-chan time.Time) bool { return !isClosedNow(c) })
		if want := len(strangers) - 6; ended != want {
			t.Errorf("%d strangers were cut off, want the oldest %d", ended, want)
		}
	})
}

// A client that comes from one port to two addresses of the host has one connection, so that it counts.
func TestStreamsFromOnePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{StreamsPerSource: 2})
		open := 0
		for i := range 10 {
			_, closed := r.dialFrom(t, "203.0.113.5:1", asItIs)
			switch synctest.Wait(); {
			case !isClosedNow(closed):
				open++
			case i == 0:
				t.Error("the first one was refused")
			}
		}
		if open != 1 {
			t.Errorf("%d connections are open", open)
		}
	})
}

// The connection of a client that has lost its address, as one that is expelled, ends soon.
func TestStreamOfExpelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		conn, closed := r.dialFrom(t, "203.0.113.5:1", asItIs)
		c := &raw{memory: &memory{in: make(chan datagram, 8)}, stream: conn}
		go c.readStream()
		c.authenticate(t, nodeID)
		if a := c.ask(t, turn.Allocate, allocate); a.Class != turn.Success {
			t.Fatalf("answer %+v", a)
		}
		time.Sleep(5 * time.Minute)
		if isClosedNow(closed) {
			t.Fatal("it ended while it had an address")
		}
		r.mu.Lock()
		delete(r.members, relay.User(nodeID))
		r.mu.Unlock()
		r.s.Recheck()
		time.Sleep(untilAllocated + time.Second)
		if !isClosedNow(closed) {
			t.Error("it is still open")
		}
	})
}

// What follows the integrity of a request was added by anyone, and is not taken.
func TestAppendedAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		c := r.raw(t, "203.0.113.1:1", nodeID)
		c.ask(t, turn.Allocate, allocate)
		peer, victim := r.listen(t, peerHost+":9"), r.listen(t, "192.0.2.66:9")
		m := turn.Begin(nil, turn.CreatePermission, turn.Request, turn.ID{9})
		m.Peer(peer.local)
		m.Sign(c.auth)
		m.Peer(victim.local)
		_, _ = c.Write(m.Finish())
		synctest.Wait()
		for len(c.in) > 0 {
			<-c.in
		}
		for _, to := range []*memory{peer, victim} {
			send := turn.Begin(nil, turn.Send, turn.Indication, turn.ID{8})
			send.Peer(to.local)
			send.Data([]byte("x"))
			_, _ = c.Write(send.Finish())
		}
		receive(t, peer.in)
		synctest.Wait()
		if len(victim.in) != 0 {
			t.Error("who adds a peer to a member's request sends to it")
		}
	})
}

// A request for a channel that pion reads in another way than the check before it does not get round that.
func TestAmbiguousChannels(t *testing.T) {
	for name, also := range map[string]func(*turn.Builder){
		"a second channel":     func(m *turn.Builder) { m.Channel(turn.MinChannel) },
		"half of an attribute": func(m *turn.Builder) { m.Bytes = append(m.Bytes, 0, 0x09, 0, 2, 0, 0, 0, 0) }, // ERROR-CODE
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, Limits{Peers: 3})
				c := r.raw(t, "203.0.113.1:1", nodeID)
				c.ask(t, turn.Allocate, allocate)
				bound := 0
				for i := range 10 {
					peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 0}), uint16(100+i))
					a := c.ask(t, turn.ChannelBind, func(m *turn.Builder) {
						m.Channel(turn.MinChannel + uint16(i))
						m.Peer(peer)
						also(m)
					})
					if a.Class == turn.Success {
						bound++
					}
				}
				if bound > 3 {
					t.Errorf("%d channels were bound", bound)
				}
			})
		})
	}
}

// attribute appends one that clients of ours do not send.
func attribute(kind uint16, value ...byte) func(*turn.Builder) {
	return func(m *turn.Builder) {
		m.Bytes = append(m.Bytes, byte(kind>>8), byte(kind), 0, byte(len(value)))
		m.Bytes = append(append(m.Bytes, value...), make([]byte, -len(value)&3)...)
	}
}

// Attributes of RFC 8656 and 6062 that clients of ours do not send.
const (
	evenPort     = 0x0018
	transport    = 0x0019
	dontFragment = 0x001a
	reservation  = 0x0022
	connection   = 0x002a
)

// What is not offered is refused, and takes nothing; no address is given for longer than an hour.
func TestOddRequests(t *testing.T) {
	lifetime := func(seconds uint32) func(*turn.Builder) {
		return func(m *turn.Builder) { m.Lifetime(seconds) }
	}
	peer := func(m *turn.Builder) { m.Peer(netip.MustParseAddrPort("192.0.2.9:9")) }
	for name, tt := range map[string]struct {
		method int
		fill   []func(*turn.Builder)
		code   int // 0: granted
	}{
		"no time":              {turn.Allocate, []func(*turn.Builder){allocate, lifetime(0)}, turn.CodeCapacity},
		"the longest time":     {turn.Allocate, []func(*turn.Builder){allocate, lifetime(1<<32 - 1)}, 0},
		"a longer time":        {turn.Refresh, []func(*turn.Builder){lifetime(1<<32 - 1)}, 0},
		"an even port":         {turn.Allocate, []func(*turn.Builder){allocate, attribute(evenPort, 0x80)}, 0},
		"an unknown token":     {turn.Allocate, []func(*turn.Builder){allocate, attribute(reservation, 1, 2, 3, 4, 5, 6, 7, 8)}, turn.CodeCapacity},
		"never fragments":      {turn.Allocate, []func(*turn.Builder){allocate, attribute(dontFragment)}, 420},
		"TCP":                  {turn.Allocate, []func(*turn.Builder){attribute(transport, 6, 0, 0, 0)}, turn.CodeCapacity},
		"SCTP":                 {turn.Allocate, []func(*turn.Builder){attribute(transport, 132, 0, 0, 0)}, 442},
		"an unknown family":    {turn.Allocate, []func(*turn.Builder){allocate, func(m *turn.Builder) { m.Family(9) }}, 440},
		"a connection by TCP":  {0x00a, []func(*turn.Builder){peer}, 447},
		"another's connection": {0x00b, []func(*turn.Builder){attribute(connection, 0, 0, 0, 1)}, turn.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, Limits{})
				c := r.raw(t, "203.0.113.1:1", nodeID)
				want := 0
				if tt.method != turn.Allocate {
					c.ask(t, turn.Allocate, allocate)
					want = 1
				}
				a := c.ask(t, tt.method, func(m *turn.Builder) {
					for _, fill := range tt.fill {
						fill(m)
					}
				})
				if tt.code == 0 {
					want = 1
				}
				if live := r.live(); a.Code != tt.code || (a.Class == turn.Success) != (tt.code == 0) || live != want {
					t.Errorf("answer %+v, %d allocations, want code %d and %d", a, live, tt.code, want)
				}
				if time.Sleep(time.Hour + time.Second); r.live() != 0 {
					t.Error("an address is there after an hour")
				}
			})
		})
	}
}

func (r *rig) live() int {
	r.s.mu.RLock()
	defer r.s.mu.RUnlock()
	return len(r.s.live)
}

// Who sends what another client has sent has no address of that one, and can't end it.
func TestOthersFiveTuple(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		c, thief := r.raw(t, "203.0.113.1:1", nodeID), r.raw(t, "203.0.114.1:1", "node-b")
		c.ask(t, turn.Allocate, allocate)
		m := turn.Begin(nil, turn.Refresh, turn.Request, turn.ID{9})
		m.Lifetime(0)
		m.Sign(c.auth)
		_, _ = thief.Write(m.Finish())
		c.auth = thief.auth // b is at the address of a, as after a NAT's restart
		for _, method := range []int{turn.Refresh, turn.CreatePermission, turn.ChannelBind} {
			a := c.ask(t, method, func(m *turn.Builder) {
				m.Lifetime(0)
				m.Channel(turn.MinChannel)
				m.Peer(netip.MustParseAddrPort("192.0.2.9:9"))
			})
			if a.Class == turn.Success {
				t.Errorf("method %d: answer %+v", method, a)
			}
		}
		again := turn.Begin(nil, turn.Allocate, turn.Request, turn.ID{10})
		allocate(&again)
		again.Sign(c.auth)
		_, _ = c.Write(again.Finish())
		var a turn.Message
		if err := turn.Parse(&a, receive(t, c.in).b); err != nil || a.Code != turn.CodeMismatch || r.live() != 1 {
			t.Errorf("answer %+v, %v, %d allocations", a, err, r.live())
		}
	})
}
