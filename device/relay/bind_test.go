package relay

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// got is what a receive function returned.
type got struct {
	b    []byte
	size int
	from conn.Endpoint
}

// reader runs receive functions, as upstream does.
type reader struct {
	packets chan got
	ended   chan error
}

func read(fns []conn.ReceiveFunc, batch int) *reader {
	r := &reader{packets: make(chan got, 4096), ended: make(chan error, len(fns))}
	for _, fn := range fns {
		go func() {
			bufs, sizes, eps := make([][]byte, batch), make([]int, batch), make([]conn.Endpoint, batch)
			for i := range bufs {
				bufs[i] = make([]byte, 65535)
			}
			for {
				n, err := fn(bufs, sizes, eps)
				for i := range n {
					r.packets <- got{bytes.Clone(bufs[i][:sizes[i]]), sizes[i], eps[i]}
				}
				if err != nil {
					r.ended <- err
					return
				}
			}
		}()
	}
	return r
}

func open(t *testing.T, b *Bind, batch int) *reader {
	t.Helper()
	fns, port, err := b.Open(51820)
	if err != nil || port != 51820 || len(fns) != 2 {
		t.Fatalf("%d functions, port %d, %v", len(fns), port, err)
	}
	return read(fns, batch)
}

// end closes the bind, and waits until its functions have ended.
func (r *reader) end(t *testing.T, b *Bind) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	for range cap(r.ended) {
		if err := <-r.ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a function ended with %v", err)
		}
	}
}

// What comes by relays keeps its order, waits while the bind is closed, and is dropped when there
// is too much of it. An endpoint is the same each time.
func TestBindReceives(t *testing.T) {
	for _, batch := range []int{1, 128} {
		synctest.Test(t, func(t *testing.T) {
			b := NewBind(newSockets())
			in, other := b.deliver("box1", new(*Client)), b.deliver("box2", new(*Client))
			r := open(t, b, batch)
			moved := netip.AddrPortFrom(peer.Addr(), 7)
			for i := range byte(100) {
				in([]byte{i}, peer)
			}
			in([]byte("moved"), moved)
			other([]byte("other"), peer)
			in(make([]byte, turn.MaxMessage), peer)
			var eps []conn.Endpoint
			for i := range byte(100) {
				p := <-r.packets
				if !bytes.Equal(p.b, []byte{i}) {
					t.Fatalf("packet %d is %v", i, p.b)
				}
				eps = append(eps, p.from)
			}
			for _, want := range []string{"moved", "other"} {
				p := <-r.packets
				if string(p.b) != want {
					t.Errorf("%q came, want %q", p.b, want)
				}
				eps = append(eps, p.from)
			}
			if p := <-r.packets; len(p.b) != turn.MaxMessage || p.from != eps[0] {
				t.Errorf("%d bytes from %v", len(p.b), p.from)
			}
			parsed, err := b.ParseEndpoint(mesh.Via(peer, "box1").String())
			if err != nil || parsed != eps[0] || eps[0] != eps[99] || eps[100] == eps[0] || eps[101] == eps[0] {
				t.Errorf("endpoints are not the same: %v, %v, %v", parsed, eps, err)
			}
			e := eps[101].(*Endpoint)
			if e.AddrPort() != mesh.Via(peer, "box2") || e.DstIP() != peer.Addr() || e.Relay() != "box2" || e.DstToString() != e.AddrPort().String() {
				t.Errorf("the endpoint is %+v", e)
			}
			r.end(t, b)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			for i := range maxInbound + 50 {
				in([]byte{byte(i)}, peer)
			}
			if n := b.Dropped(); n != 50 {
				t.Errorf("%d packets were dropped", n)
			}
			r = open(t, b, batch)
			for i := range maxInbound {
				if p := <-r.packets; p.b[0] != byte(i) {
					t.Fatalf("after a while packet %d is %v", i, p.b)
				}
			}
			r.end(t, b)
		})
	}
}

func TestEndpointsAreBounded(t *testing.T) {
	b := NewBind(newSockets())
	for i := range 3 * maxEndpoints {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 1)
		if _, err := b.ParseEndpoint(mesh.Via(at, "box1").String()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.endpoints); n > maxEndpoints {
		t.Errorf("%d endpoints", n)
	}
}

// Handshake messages are signalled, by whichever way they come.
func TestHandshakesAreSignalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSockets()
		b := NewBind(s)
		r := open(t, b, 1)
		signalled := func() bool {
			synctest.Wait()
			select {
			case <-b.Handshakes():
				return true
			default:
				return false
			}
		}
		in := b.deliver("box1", new(*Client))
		for size, kind := range map[int]byte{148: 1, 92: 2, 64: 3} {
			msg := make([]byte, size)
			msg[0] = 4
			if in(msg, peer); signalled() {
				t.Errorf("%d bytes of data are signalled", size)
			}
			msg[0] = kind
			if in(msg, peer); !signalled() {
				t.Errorf("a message of type %d is not signalled", kind)
			}
		}
		s.handshakes.Notify()
		if !signalled() {
			t.Error("the signal of the sockets is lost")
		}
		r.end(t, b)
	})
}

// Direct endpoints are the sockets' business alone.
func TestBindSends(t *testing.T) {
	s := newSockets()
	b := NewBind(s)
	direct, err := b.ParseEndpoint("192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := direct.(*socketEndpoint); !ok {
		t.Errorf("a direct endpoint is %T", direct)
	}
	if err := b.Send([][]byte{{1}, {2}}, direct); err != nil || len(s.sent) != 2 {
		t.Errorf("%d packets, %v", len(s.sent), err)
	}
	relayed, err := b.ParseEndpoint(mesh.Via(peer, "turn:[2001:db8::1]:3478?transport=tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	var unavailable *UnavailableError
	if err := b.Send([][]byte{{1}}, relayed); !errors.As(err, &unavailable) || len(s.sent) != 2 {
		t.Errorf("%d packets, %v", len(s.sent), err)
	}
	if _, ok := b.Whole().(wholeSender); ok {
		t.Error("SendWhole is there without sockets that have it")
	}
}

// wholeSockets can send what nobody may fragment.
type wholeSockets struct {
	*sockets
	whole int
}

func (s *wholeSockets) SendWhole([]byte, conn.Endpoint) error {
	s.whole++
	return nil
}

func TestSendWhole(t *testing.T) {
	s := &wholeSockets{sockets: newSockets()}
	w, ok := NewBind(s).Whole().(wholeSender)
	if !ok {
		t.Fatal("SendWhole is missing")
	}
	if err := w.SendWhole([]byte{1}, socketPeer); err != nil || s.whole != 1 {
		t.Errorf("%d, %v", s.whole, err)
	}
	if err := w.SendWhole([]byte{1}, newEndpoint(mesh.Via(peer, "box1"))); !errors.As(err, new(*UnavailableError)) || s.whole != 1 {
		t.Errorf("%d, %v", s.whole, err)
	}
}

// A server takes what speaks TURN from the device's port, and nothing else.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSockets()
		b := NewBind(s)
		r := open(t, b, 1)
		allocate := turn.Begin(nil, turn.Allocate, turn.Request, turn.ID{1})
		binding := turn.Begin(nil, turn.Binding, turn.Request, turn.ID{2})
		answer := turn.Begin(nil, turn.Allocate, turn.Success, turn.ID{2})
		send := turn.Begin(nil, turn.Send, turn.Indication, turn.ID{3})
		channel := turn.AppendChannel(nil, turn.MinChannel, []byte("data"), false)
		theirs := [][]byte{allocate.Finish(), send.Finish(), channel}
		ours := [][]byte{binding.Finish(), answer.Finish(), {1, 0, 0, 0}, {4, 0, 0, 0, 9}, {}, bytes.Repeat([]byte{4}, 3000)}
		for _, m := range append(theirs, ours...) { // nobody shares
			s.in <- m
			if p := <-r.packets; !bytes.Equal(p.b, m) {
				t.Errorf("the device got %x, want %x", p.b, m)
			}
		}
		first := b.Shared()
		shared := b.Shared()
		if _, _, err := first.ReadFromUDPAddrPort(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("what was shared before: %v", err)
		}
		buf := make([]byte, 4096)
		for _, m := range theirs {
			s.in <- m
			if p := <-r.packets; p.size != 0 {
				t.Errorf("the device got %x", p.b)
			}
			n, from, err := shared.ReadFromUDPAddrPort(buf)
			if err != nil || !bytes.Equal(buf[:n], m) || from.String() != socketPeer.DstToString() {
				t.Errorf("%x from %v, %v", buf[:n], from, err)
			}
		}
		for _, m := range ours {
			s.in <- m
			if p := <-r.packets; !bytes.Equal(p.b, m) {
				t.Errorf("the device got %x, want %x", p.b, m)
			}
		}
		if n, err := shared.WriteToUDPAddrPort([]byte("answer"), socketPeer.at); n != 6 || err != nil || len(s.sent) != 1 {
			t.Errorf("%d, %v, %q", n, err, s.sent)
		}
		for range maxRequests + 10 {
			s.in <- channel
			<-r.packets
		}
		if n := shared.Dropped(); n != 10 {
			t.Errorf("%d were dropped", n)
		}
		if err := errors.Join(shared.Close(), shared.Close()); err != nil {
			t.Error(err)
		}
		if _, err := shared.WriteToUDPAddrPort(nil, socketPeer.at); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		s.in <- channel
		if p := <-r.packets; !bytes.Equal(p.b, channel) {
			t.Errorf("after the end the device got %x", p.b)
		}
		r.end(t, b)
	})
}

// A text that is taken as a relayed endpoint is printed as it was read.
func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{
		mesh.Via(peer, "box1").String(), mesh.Via(netip.MustParseAddrPort("[2001:db8::1]:2"), "turn:[::1]:3478").String(),
		"[fe80::1%eth0]:1", "[::1%relay.]:1", "[::1%relay.\n]:1", "[::1%relay.x]:0", "192.0.2.1:1", "%relay.",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, relayed, err := parseEndpoint(s)
		if !relayed || err != nil {
			return
		}
		peer, name := mesh.Direct(at)
		if name == "" || len(name) > maxName || strings.ContainsAny(name, " \n\r\t") || !peer.IsValid() || peer.Port() == 0 {
			t.Fatalf("%q is %v by %q", s, peer, name)
		}
		again, relayed, err := parseEndpoint(newEndpoint(at).DstToString())
		if again != at || !relayed || err != nil {
			t.Fatalf("%q is %v, and then %v, %t, %v", s, at, again, relayed, err)
		}
	})
}

// readyClient returns a client whose packets go to discard.
func readyClient(b testing.TB, bind *Bind) *Client {
	b.Helper()
	c, err := New(Config{Dial: (&script{}).dial, Receive: bind.deliver("box1", new(*Client)), Credentials: func(time.Time) Credentials { return Credentials{} }})
	if err != nil {
		b.Fatal(err)
	}
	s := newSession(c, discard{})
	s.bindings[peer] = &binding{peer: peer, channel: turn.MinChannel, live: true}
	s.replaceTable()
	c.ready.Store(s)
	bind.use("box1", c)
	return c
}

type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkSend(b *testing.B) {
	bind := NewBind(newSockets())
	readyClient(b, bind)
	bufs := [][]byte{make([]byte, 1452)}
	ep, _ := bind.ParseEndpoint(mesh.Via(peer, "box1").String())
	b.ReportAllocs()
	for b.Loop() {
		if err := bind.Send(bufs, ep); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReceive(b *testing.B) {
	bind := NewBind(newSockets())
	in := bind.deliver("box1", new(*Client))
	closed := make(chan struct{})
	fn := bind.relayed(closed)
	bufs, sizes, eps := [][]byte{make([]byte, 2048)}, make([]int, 1), make([]conn.Endpoint, 1)
	packet := make([]byte, 1452)
	b.ReportAllocs()
	for b.Loop() {
		in(packet, peer)
		if n, err := fn(bufs, sizes, eps); n != 1 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// Neither way allocates.
func TestAllocations(t *testing.T) {
	bind := NewBind(newSockets())
	readyClient(t, bind)
	in, fn := bind.deliver("box1", new(*Client)), bind.relayed(nil)
	bufs, sizes, eps := [][]byte{make([]byte, 2048)}, make([]int, 1), make([]conn.Endpoint, 1)
	packet := [][]byte{make([]byte, 1452)}
	ep, _ := bind.ParseEndpoint(mesh.Via(peer, "box1").String())
	least := 1.0
	for range 20 { // under the race detector pools lose objects now and then
		least = min(least, testing.AllocsPerRun(3, func() {
			_ = bind.Send(packet, ep)
			in(packet[0], peer)
			_, _ = fn(bufs, sizes, eps)
		}))
	}
	if least > 0 {
		t.Errorf("%v allocations", least)
	}
}
