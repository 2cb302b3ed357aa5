package relay

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/mesh"
)

// onStream returns a set whose address is on a stream, since UDP was silent. The peer has shaken
// hands there.
func onStream(t *testing.T, w *world) (*Set, *Bind, conn.Endpoint) {
	t.Helper()
	w.set(silent, udp(1))
	w.set(answers, tcp(1))
	w.moveTo(tcp(1))
	s, b := startSet(t, w)
	s.Set(wish(1, 1))
	within(t, w, time.Second, tcp(1))
	time.Sleep(time.Second)
	ep, err := b.ParseEndpoint(mesh.Via(peer, "box1").String())
	if err != nil {
		t.Fatal(err)
	}
	shake(t, b, ep)
	return s, b, ep
}

// shake sends an initiation, which the peer sends back.
func shake(t *testing.T, b *Bind, ep conn.Endpoint) {
	t.Helper()
	msg := make([]byte, 148)
	msg[0] = 1
	if err := b.Send([][]byte{msg}, ep); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

// sends sends data and returns by which way it came to the peer's relay.
func sends(t *testing.T, w *world, b *Bind, ep conn.Endpoint) (by string) {
	t.Helper()
	u, _ := w.counts(udp(1))
	s, _ := w.counts(tcp(1))
	if err := b.Send([][]byte{make([]byte, 64)}, ep); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	if n, _ := w.counts(udp(1)); n > u {
		by += "udp"
	}
	if n, _ := w.counts(tcp(1)); n > s {
		by += "tcp"
	}
	return by
}

// UDP that was silent for a moment is used later, without a lost packet: a peer is sent to where
// it shook hands last. The former address is given back when nothing comes there any more.
func TestUDPLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, b, ep := onStream(t, w)
		stream := s.Relays()[0].Relayed
		time.Sleep(10 * time.Second)
		w.set(answers, udp(1))
		within(t, w, firstUDP, tcp(1), udp(1))
		if r := s.Relays()[0]; r.Transport != "tls" || r.Relayed != stream || r.Former.IsValid() {
			t.Errorf("before UDP has proven itself: %+v", r)
		}
		time.Sleep(proofTime + time.Second)
		r := s.Relays()[0]
		if r.Transport != "udp" || !r.Permitted || r.Relayed == stream || r.Former != stream {
			t.Errorf("the relay is %+v", r)
		}
		for range 100 { // the peer does not know yet
			if by := sends(t, w, b, ep); by != "tcp" {
				t.Fatalf("data left by %q", by)
			}
			time.Sleep(time.Second)
		}
		w.moveTo(udp(1))
		shake(t, b, ep)
		for range 100 {
			if by := sends(t, w, b, ep); by != "udp" {
				t.Fatalf("data left by %q after the peer has moved", by)
			}
			time.Sleep(time.Second)
		}
		within(t, w, 0, udp(1))
		now := s.Relays()[0]
		if now.Former.IsValid() || now.Dropped != 0 || now.Sent != 200*64+3*148 || now.Received != 200*64+2*148 {
			t.Errorf("in the end: %+v", now)
		}
		w.dialed()
		time.Sleep(time.Hour)
		if got := w.dialed(); len(got) > 0 {
			t.Errorf("dialed by UDP: %q", got)
		}
	})
}

// Blocked UDP costs a few packets per try, and UDP that loses a fifth is not taken. The tries
// become rare.
func TestUDPStaysBad(t *testing.T) {
	for name, tt := range map[string]struct {
		state  state
		perTry int
	}{"blocked": {silent, 4}, "lossy": {lossy, 60}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s, _, _ := onStream(t, w)
				w.set(tt.state, udp(1))
				w.dialed()
				_, before := w.counts(udp(1))
				at := s.Relays()[0].Relayed
				for range 6 * 60 * 6 {
					time.Sleep(10 * time.Second)
					if r := s.Relays()[0]; r.Relayed != at || r.Transport != "tls" {
						t.Fatalf("the relay is %+v", r)
					}
				}
				tries := len(w.dialed())
				if tries < 24 || tries > 28 {
					t.Errorf("%d tries in 6 h", tries)
				}
				if _, n := w.counts(udp(1)); n-before > tt.perTry*tries {
					t.Errorf("%d requests in %d tries", n-before, tries)
				}
			})
		})
	}
}

// If UDP fails while the former address is there, that is used and announced again.
func TestUDPFailsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, b, ep := onStream(t, w)
		stream := s.Relays()[0].Relayed
		w.set(answers, udp(1))
		time.Sleep(firstUDP + proofTime + time.Second)
		if r := s.Relays()[0]; r.Transport != "udp" {
			t.Fatalf("the relay is %+v", r)
		}
		w.moveTo(udp(1))
		shake(t, b, ep)
		w.set(silent, udp(1))
		b.CheckRelay("box1")
		time.Sleep(3 * time.Second)
		within(t, w, 0, tcp(1))
		if r := s.Relays()[0]; r.Transport != "tls" || r.Relayed != stream || r.Former.IsValid() || r.Error != "" {
			t.Errorf("the relay is %+v", r)
		}
		if by := sends(t, w, b, ep); by != "tcp" {
			t.Errorf("data left by %q", by)
		}
		w.set(answers, udp(1))
		time.Sleep(2*firstUDP + proofTime + time.Second)
		if r := s.Relays()[0]; r.Transport != "udp" || r.Former != stream {
			t.Errorf("in the end the relay is %+v", r)
		}
	})
}

// A former address that is lost is announced no more. Without one, the end of the winner is that
// of the use.
func TestFormerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, _, _ := onStream(t, w)
		w.set(answers, udp(1))
		time.Sleep(firstUDP + proofTime + time.Second)
		w.set(silent, tcp(1))
		time.Sleep(30 * time.Second)
		if r := s.Relays()[0]; r.Transport != "udp" || r.Former.IsValid() {
			t.Errorf("the relay is %+v", r)
		}
		w.set(silent, udp(1))
		time.Sleep(30 * time.Second)
		if r := s.Relays()[0]; r.Relayed != (netip.AddrPort{}) {
			t.Errorf("the relay is %+v", r)
		}
		if got := w.allocations(); slices.Contains(got, udp(1)) {
			t.Errorf("allocations by %q", got)
		}
	})
}
