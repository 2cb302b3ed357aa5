package server

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
)

const peerHost = "192.0.2.7"

// Packets pass both ways, by a channel, over both transports.
func TestRelays(t *testing.T) {
	for name, stream := range map[string]bool{"UDP": false, "stream": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, Limits{})
				peer := r.listen(t, peerHost+":51820")
				c := r.client(t, nodeID, stream)
				relayed := c.ready(t, peer)
				for _, size := range []int{32, 33, 34, 35, 1500, relay.MaxPacket} {
					packet := bytes.Repeat([]byte{byte(size)}, size)
					if !c.WriteTo(packet, peer.local) {
						t.Fatalf("%d bytes were not sent", size)
					}
					if d := receive(t, peer.in); !bytes.Equal(d.b, packet) || d.from != relayed {
						t.Errorf("the peer got %d bytes from %v", len(d.b), d.from)
					}
					if _, err := peer.WriteToUDPAddrPort(packet, relayed); err != nil {
						t.Fatal(err)
					}
					if d := receive(t, c.in); !bytes.Equal(d.b, packet) || d.from != peer.local {
						t.Errorf("the client got %d bytes from %v", len(d.b), d.from)
					}
				}
				if c.WriteTo(make([]byte, relay.MaxPacket+1), peer.local) || c.Counters().DroppedTooLarge != 1 {
					t.Error("a packet was sent that is too large")
				}
				if u := r.s.Usage(); len(u) != 1 || u[0].Member != "a" || u[0].Packets != 12 || len(u[0].Allocations) != 1 {
					t.Errorf("usage is %+v", u)
				}
				c.stop()
				synctest.Wait()
				if u := r.s.Usage(); len(u[0].Allocations) != 0 {
					t.Errorf("after the client has left: %+v", u)
				}
			})
		})
	}
}

// A client reached by IPv4 may have an IPv6 address, for peers of IPv6 alone.
func TestIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		peer := r.listen(t, "[2001:db8:7::7]:51820")
		c := startClient(t, relay.Config{
			Dial: r.dialUDP("203.0.113.1"), Family6: true,
			Credentials: func(time.Time) relay.Credentials { return key.Credentials(nodeID, time.Now()) },
		})
		relayed := c.ready(t, peer)
		if relayed.Addr() != relayAddr6 {
			t.Fatalf("the address is %v", relayed)
		}
		for _, moved := range []*memory{peer, r.listen(t, "[2001:db8:7::7]:5")} {
			_, _ = moved.WriteToUDPAddrPort([]byte("in"), relayed)
			if d := receive(t, c.in); d.from != moved.local {
				t.Errorf("it came from %v", d.from)
			}
			c.WriteTo([]byte("out"), moved.local)
			receive(t, moved.in)
		}
	})
}

// A client reached by IPv6 gets an IPv4 address, unless it asks for another one (RFC 8656, section
// 7.2). Ours asks for that, since pion's servers decide otherwise by default.
func TestReachedByIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		if a := r.raw(t, "[2001:db8:9::1]:1", nodeID).ask(t, turn.Allocate, allocate); a.Relayed.Addr() != relayAddr {
			t.Errorf("who asks for no family gets %v", a.Relayed)
		}
		families := make(chan bool, 16)
		c := startClient(t, relay.Config{
			Dial: func(context.Context) (net.Conn, error) {
				m, err := r.open(netip.MustParseAddrPort("[2001:db8:9::1]:2"), netip.MustParseAddrPort(control6))
				return familyWatch{m, families}, err
			},
			Credentials: func(time.Time) relay.Credentials { return key.Credentials(nodeID, time.Now()) },
		})
		peer := r.listen(t, peerHost+":51820")
		if relayed := c.ready(t, peer); relayed.Addr() != relayAddr {
			t.Errorf("the address is %v", relayed)
		}
		if !<-families {
			t.Error("the client asks for no family")
		}
	})
}

// familyWatch notes whether requests for an address name a family.
type familyWatch struct {
	net.Conn
	named chan<- bool
}

func (w familyWatch) Write(b []byte) (int, error) {
	if method, _ := turn.Kind(b); method == turn.Allocate {
		w.named <- bytes.Contains(b, []byte{0, 0x17, 0, 4, turn.Family4, 0, 0, 0})
	}
	return w.Conn.Write(b)
}

// An allocation outlives nonces (an hour), credentials and every lifetime.
func TestLastsForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		peer := r.listen(t, peerHost+":51820")
		c := r.client(t, nodeID, false)
		relayed := c.ready(t, peer)
		time.Sleep(49 * time.Hour)
		synctest.Wait()
		if s := c.Snapshot(); s.Relayed != relayed || s.Channels != 1 || c.Counters().Allocations != 1 {
			t.Errorf("after two days: %+v, %+v", s, c.Counters())
		}
		c.WriteTo([]byte("x"), peer.local)
		receive(t, peer.in)
	})
}

// A server that restarts knows neither allocation nor nonce.
func TestServerRestarts(t *testing.T) {
	for name, stream := range map[string]bool{"UDP": false, "stream": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, Limits{})
				peer := r.listen(t, peerHost+":51820")
				c := r.client(t, nodeID, stream)
				c.ready(t, peer)
				r.stop()
				c.Check()
				c.wait(t, "without address", func(s relay.Status) bool { return s.State != relay.StateReady && s.Err != nil })
				if c.WriteTo([]byte("x"), peer.local) || c.Counters().DroppedNoAddress != 1 {
					t.Error("a packet was sent without an address")
				}
				time.Sleep(time.Hour)
				r.start(t, Limits{})
				c.ready(t, peer)
				c.WriteTo([]byte("x"), peer.local)
				receive(t, peer.in)
			})
		})
	}
}

// A restart between two refreshes is noticed, though pion does not answer them then.
func TestQuickRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		c := r.client(t, nodeID, false)
		c.ready(t)
		r.stop()
		r.start(t, Limits{})
		began := time.Now()
		c.wait(t, "without address", func(s relay.Status) bool { return s.State == relay.StateWaiting })
		c.ready(t)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("a new address took %v", took)
		}
	})
}

// Two nodes behind the same relay reach each other, by their relayed addresses.
func TestBothRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		a, b := r.client(t, nodeID, false), r.client(t, "node-b", true)
		atA, atB := a.ready(t), b.ready(t)
		a.SetPeers([]netip.AddrPort{atB})
		b.SetPeers([]netip.AddrPort{atA})
		for _, c := range []*client{a, b} {
			c.wait(t, "bound", func(s relay.Status) bool { return s.Channels == 1 })
		}
		a.WriteTo([]byte("to b"), atB)
		if d := receive(t, b.in); string(d.b) != "to b" || d.from != atA {
			t.Errorf("b got %q from %v", d.b, d.from)
		}
	})
}

// What a peer's new port sends comes in, and the answer goes out at once and then by a channel.
func TestNewPortOfPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		peer, moved := r.listen(t, peerHost+":51820"), r.listen(t, peerHost+":7777")
		c := r.client(t, nodeID, false)
		relayed := c.ready(t, peer)
		_, _ = moved.WriteToUDPAddrPort([]byte("here"), relayed)
		if d := receive(t, c.in); d.from != moved.local {
			t.Fatalf("it came from %v", d.from)
		}
		c.WriteTo([]byte("there"), moved.local)
		receive(t, moved.in)
		c.wait(t, "bound to both", func(s relay.Status) bool { return s.Channels == 2 })
	})
}

// From a stranger nothing but an initiation to the owner comes in.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		c := r.client(t, nodeID, false)
		relayed := c.ready(t)
		stranger := r.listen(t, "192.0.2.99:1234")
		ours, forOther := initiation(ownerKey), initiation([32]byte{9})
		for _, b := range [][]byte{[]byte("data"), forOther, ours[:147], make([]byte, 148)} {
			_, _ = stranger.WriteToUDPAddrPort(b, relayed)
		}
		synctest.Wait()
		if len(c.in) != 0 {
			t.Fatalf("the client got %q", receive(t, c.in).b)
		}
		_, _ = stranger.WriteToUDPAddrPort(ours, relayed)
		if d := receive(t, c.in); !bytes.Equal(d.b, ours) || d.from != stranger.local {
			t.Fatalf("the client got %x from %v", d.b, d.from)
		}
		_, _ = stranger.WriteToUDPAddrPort([]byte("data"), relayed)
		synctest.Wait()
		if len(c.in) != 0 {
			t.Error("a stranger that was not answered sent more than an initiation")
		}
		if !c.WriteTo([]byte("response"), stranger.local) {
			t.Fatal("the response was not sent")
		}
		if d := receive(t, stranger.in); string(d.b) != "response" {
			t.Errorf("the stranger got %q", d.b)
		}
		c.wait(t, "bound", func(s relay.Status) bool { return s.Channels == 1 })
		_, _ = stranger.WriteToUDPAddrPort([]byte("data"), relayed)
		if d := receive(t, c.in); string(d.b) != "data" {
			t.Errorf("the client got %q", d.b)
		}
	})
}

// A member that has a new key is found by it, and no more by the old one.
func TestNewKeyOfOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		c := r.client(t, nodeID, false)
		relayed := c.ready(t)
		r.mu.Lock()
		r.members[relay.User(nodeID)] = Member{"a2", [32]byte{77}}
		r.mu.Unlock()
		r.s.Recheck()
		stranger := r.listen(t, "192.0.2.99:1234")
		_, _ = stranger.WriteToUDPAddrPort(initiation(ownerKey), relayed)
		synctest.Wait()
		if len(c.in) != 0 {
			t.Error("the old key let a stranger in")
		}
		_, _ = stranger.WriteToUDPAddrPort(initiation([32]byte{77}), relayed)
		receive(t, c.in)
		if u := r.s.Usage(); len(u) != 1 || u[0].Member != "a2" {
			t.Errorf("usage is %+v", u)
		}
	})
}

// A node without permission at a peer drops and counts.
func TestNoPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		c := r.client(t, nodeID, false)
		c.ready(t)
		if c.WriteTo([]byte("x"), netip.MustParseAddrPort("192.0.2.5:5")) || c.Counters().DroppedNoPermission != 1 {
			t.Errorf("counters are %+v", c.Counters())
		}
	})
}

// Those who are no members any more lose their allocation at once, and get none.
func TestExpelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		peer := r.listen(t, peerHost+":51820")
		c := r.client(t, nodeID, false)
		relayed := c.ready(t, peer)
		r.mu.Lock()
		delete(r.members, relay.User(nodeID))
		r.mu.Unlock()
		r.s.Recheck()
		r.network.mu.Lock()
		open := r.sockets[relayed] != nil
		r.network.mu.Unlock()
		if open || len(r.s.Usage()) != 0 {
			t.Error("the allocation is still there")
		}
		c.WriteTo([]byte("x"), peer.local)
		s := c.wait(t, "refused", func(s relay.Status) bool { return s.State == relay.StateWaiting })
		if e := (*relay.Error)(nil); !errors.As(s.Err, &e) || e.Code != turn.CodeUnauthorized {
			t.Errorf("the error is %v", s.Err)
		}
		if len(peer.in) != 0 {
			t.Error("a packet was relayed")
		}
	})
}
