package server

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// initiation returns what looks like a handshake initiation to the owner of a key.
func initiation(to mesh.Key) []byte {
	b := make([]byte, initiationSize)
	b[0] = initiationType
	b[50] = 42
	k := macKey(to)
	mac, _ := blake2s.New128(k[:])
	mac.Write(b[:initiationSize-2*macSize])
	copy(b[initiationSize-2*macSize:], mac.Sum(nil))
	return b
}

func TestBadCredentials(t *testing.T) {
	stolen := relay.NewKey("cluster", mesh.NewSecret([32]byte{2}))
	for name, credentials := range map[string]func(time.Time) relay.Credentials{
		"another secret": func(time.Time) relay.Credentials { return stolen.Credentials(nodeID, time.Now()) },
		"no member":      func(time.Time) relay.Credentials { return key.Credentials("node-x", time.Now()) },
		"expired":        func(time.Time) relay.Credentials { return key.Credentials(nodeID, time.Now().Add(-2*time.Hour)) },
		"the future":     func(time.Time) relay.Credentials { return key.Credentials(nodeID, time.Now().Add(48*time.Hour)) },
		"no form": func(time.Time) relay.Credentials {
			return relay.Credentials{Username: "root", Password: key.Password("root")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, Limits{})
				c := startClient(t, relay.Config{Dial: r.dialUDP("203.0.113.1"), Credentials: credentials})
				s := c.wait(t, "refused", func(s relay.Status) bool { return s.State == relay.StateWaiting })
				if e := (*relay.Error)(nil); !errors.As(s.Err, &e) || e.Code != turn.CodeUnauthorized {
					t.Errorf("the error is %v", s.Err)
				}
				if len(r.s.Usage()) != 0 {
					t.Errorf("usage is %+v", r.s.Usage())
				}
			})
		})
	}
}

func TestTargets(t *testing.T) {
	s := startRig(t, Limits{}).s
	s.live[netip.MustParseAddrPort(relayHost+":40000")] = &allocation{}
	defer delete(s.live, netip.MustParseAddrPort(relayHost+":40000"))
	for target, want := range map[string]bool{
		"192.0.2.1:22": true, "[2001:db8:2::1]:1": true, "[2001:db8::1]:51820": true, "[2001:db8::1]:1": false, "[2a00::1]:51820": true,
		relayHost + ":51820": true, relayHost + ":40000": true, "10.9.9.9:51820": true,
		relayHost + ":22": false, relayHost + ":40001": false, relayHost + ":3478": false, "10.9.9.9:22": false,
		"127.0.0.1:51820": false, "[::1]:51820": false, "[::ffff:127.0.0.1]:51820": false, "[::127.0.0.1]:1": false,
		"0.0.0.0:1": false, "[::]:1": false, "0.1.2.3:5": false,
		"10.0.0.1:1": false, "172.31.255.1:1": false, "192.168.1.1:80": false, "100.64.1.1:1": false, "[fd00::1]:1": false,
		"[::ffff:10.0.0.1]:1": false, "[64:ff9b::a00:1]:1": false, "[2002:a00:1::1]:1": false, "[2001::1]:1": false,
		"169.254.169.254:80": false, "[fe80::1]:1": false, "[fe80::1%eth0]:1": false,
		"224.0.0.1:1": false, "[ff02::1]:1": false, "255.255.255.255:1": false, "240.0.0.1:1": false,
		"192.0.2.1:0": false,
	} {
		p := netip.MustParseAddrPort(target)
		unmapped := netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		if got := s.allowsAddress(p.Addr()) && s.allowsPort(unmapped); got != want {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
	s.cfg.Private = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0")}
	if !s.allowsAddress(netip.MustParseAddr("10.0.0.1")) || s.allowsAddress(netip.MustParseAddr("127.0.0.1")) {
		t.Error("a private network that is allowed is not, or loopback is")
	}
}

// A member can't reach services of the relay's host, nor private addresses: permissions are
// refused, and packets to other ports of a permitted address dropped.
func TestServicesOfHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		var services []*memory
		var peers []netip.AddrPort
		for _, at := range []string{relayHost + ":22", "127.0.0.1:51820", "10.0.0.1:53", "169.254.169.254:80", "10.9.9.9:443"} {
			services = append(services, r.listen(t, at))
			peers = append(peers, netip.MustParseAddrPort(at))
		}
		wireguard := r.listen(t, relayHost+":51820")
		c := r.client(t, nodeID, false)
		c.SetPeers(append(peers, wireguard.local))
		s := c.wait(t, "settled", func(s relay.Status) bool { return s.Permitted && s.Channels == 1 })
		if len(s.Refused) != 3 {
			t.Errorf("refused are %v", s.Refused)
		}
		for _, p := range append(peers, wireguard.local) {
			c.WriteTo([]byte("x"), p)
		}
		receive(t, wireguard.in)
		synctest.Wait()
		for _, service := range services {
			if len(service.in) != 0 {
				t.Errorf("%v was reached", service.local)
			}
		}
		_, _ = services[0].WriteToUDPAddrPort([]byte("x"), s.Relayed)
		synctest.Wait()
		if len(c.in) != 0 {
			t.Error("a service of the host came in")
		}
	})
}

// raw sends requests that a client of ours would not.
type raw struct {
	*memory
	auth   turn.Auth
	stream net.Conn // instead of the memory's socket
}

// Write sends a message.
func (c *raw) Write(b []byte) (int, error) {
	if c.stream != nil {
		return c.stream.Write(b)
	}
	return c.memory.Write(b)
}

// readStream takes answers of a stream.
func (c *raw) readStream() {
	frames := turn.NewFrameReader(c.stream)
	for {
		b, err := frames.Next()
		if err != nil {
			return
		}
		c.in <- datagram{b: append([]byte(nil), b...)}
	}
}

func (r *rig) raw(t *testing.T, from string, node string) *raw {
	t.Helper()
	client, server := netip.MustParseAddrPort(from), netip.MustParseAddrPort(control)
	if client.Addr().Is6() {
		server = netip.MustParseAddrPort(control6)
	}
	m, err := r.open(client, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	c := &raw{memory: m}
	c.authenticate(t, node)
	return c
}

// authenticate takes up the credentials of a node.
func (c *raw) authenticate(t *testing.T, node string) {
	t.Helper()
	answer := c.ask(t, turn.Allocate, func(m *turn.Builder) { m.Padding(60) })
	have := key.Credentials(node, time.Now())
	c.auth = turn.Auth{Username: have.Username, Realm: answer.Realm, Nonce: answer.Nonce, Key: turn.Key(have.Username, relay.Realm, have.Password.Reveal())}
}

func (c *raw) ask(t *testing.T, method int, fill func(*turn.Builder)) (answer turn.Message) {
	t.Helper()
	m := turn.Begin(nil, method, turn.Request, turn.ID{byte(len(c.in)), byte(method)})
	fill(&m)
	m.Sign(c.auth)
	_, _ = c.Write(m.Finish())
	select {
	case d := <-c.in:
		if err := turn.Parse(&answer, d.b); err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Second):
	}
	return answer
}

func allocate(m *turn.Builder) { m.Transport() }

func TestFloodOfAllocations(t *testing.T) {
	for name, tt := range map[string]struct {
		limits Limits
		source func(i int) string
		node   func(i int) string
		want   int
	}{
		"one member":  {Limits{AllocationsPerMember: 3}, func(i int) string { return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String() }, func(int) string { return nodeID }, 3},
		"one source":  {Limits{AllocationsPerMember: 100, AllocationsPerSource: 4}, func(int) string { return "203.0.113.1" }, func(i int) string { return []string{nodeID, "node-b"}[i%2] }, 4},
		"all of them": {Limits{AllocationsPerMember: 100, AllocationsPerSource: 100, Allocations: 5}, func(int) string { return "203.0.113.1" }, func(int) string { return nodeID }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, tt.limits)
				granted := 0
				for i := range 20 {
					c := r.raw(t, netip.AddrPortFrom(netip.MustParseAddr(tt.source(i)), uint16(3000+i)).String(), tt.node(i))
					switch a := c.ask(t, turn.Allocate, allocate); {
					case a.Class == turn.Success:
						granted++
					case a.Code != turn.CodeQuota && a.Code != turn.CodeCapacity:
						t.Errorf("answer %+v", a)
					}
				}
				r.s.mu.RLock()
				live := len(r.s.live)
				r.s.mu.RUnlock()
				if granted != tt.want || live != tt.want {
					t.Errorf("%d were granted, %d are live; want %d", granted, live, tt.want)
				}
			})
		})
	}
}

// A member that has lost an allocation gets another one for it, though peers still send there. One
// that its client refreshes stays.
func TestReplacesLost(t *testing.T) {
	for name, used := range map[string]bool{"lost": false, "used": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, Limits{AllocationsPerMember: 1})
				c := r.raw(t, "203.0.113.1:1", nodeID)
				first := c.ask(t, turn.Allocate, allocate)
				if a := r.raw(t, "203.0.113.1:2", nodeID).ask(t, turn.Allocate, allocate); first.Class != turn.Success || a.Code != turn.CodeQuota {
					t.Fatalf("answers %+v and %+v", first, a)
				}
				c.ask(t, turn.CreatePermission, func(m *turn.Builder) { m.Peer(netip.MustParseAddrPort("192.0.2.9:9")) })
				peer := r.listen(t, "192.0.2.9:9")
				for range 4 {
					time.Sleep(replaceable / 4)
					_, _ = peer.WriteToUDPAddrPort([]byte("peer"), first.Relayed)
					<-c.in
					if used {
						c.ask(t, turn.Refresh, func(*turn.Builder) {})
					}
				}
				a := r.raw(t, "203.0.113.1:3", nodeID).ask(t, turn.Allocate, allocate)
				if got := a.Class == turn.Success; got == used {
					t.Errorf("answer %+v", a)
				}
			})
		})
	}
}

// Permissions, channels, TCP, reserved ports and other users' allocations are refused.
func TestRefusedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{Peers: 3})
		c := r.raw(t, "203.0.113.1:1", nodeID)
		if a := c.ask(t, turn.Allocate, allocate); a.Class != turn.Success {
			t.Fatalf("answer %+v", a)
		}
		permitted, bound := 0, 0
		for i := range 10 {
			peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 9)
			if a := c.ask(t, turn.CreatePermission, func(m *turn.Builder) { m.Peer(peer) }); a.Class == turn.Success {
				permitted++
			} else if a.Code != turn.CodeForbidden {
				t.Errorf("answer %+v", a)
			}
		}
		for i := range 10 {
			peer := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 0}), uint16(100+i))
			if a := c.ask(t, turn.ChannelBind, func(m *turn.Builder) { m.Channel(turn.MinChannel + uint16(i)); m.Peer(peer) }); a.Class == turn.Success {
				bound++
			}
		}
		if permitted != 3 || bound != 3 {
			t.Errorf("%d permissions and %d channels, want 3 and 3", permitted, bound)
		}
		thief := r.raw(t, "203.0.113.1:1000", "node-b")
		c.auth = thief.auth
		if a := c.ask(t, turn.Refresh, func(m *turn.Builder) { m.Lifetime(0) }); a.Class == turn.Success {
			t.Error("another user ended the allocation")
		}
	})
}

// An unauthenticated request never gets a larger answer, but for a bounded number per source.
func TestNoAmplifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{})
		m, err := r.open(netip.MustParseAddrPort("203.0.113.66:1"), netip.MustParseAddrPort(control))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		sent, got := 0, 0
		for i := range 2000 {
			b := turn.Begin(nil, []int{turn.Allocate, turn.Refresh, turn.Binding, turn.CreatePermission, turn.ChannelBind}[i%5], turn.Request, turn.ID{byte(i), byte(i >> 8)})
			if i%3 == 0 {
				b.Padding(i % 100)
			}
			if i%7 == 0 {
				b.Sign(turn.Auth{Username: "u", Realm: []byte("r"), Nonce: []byte("n"), Key: []byte("k")})
			}
			request := b.Finish()
			sent += len(request)
			_, _ = m.Write(request)
			synctest.Wait()
			for len(m.in) > 0 {
				d := <-m.in
				got += len(d.b)
				if len(d.b) > len(request) && len(request) >= smallRequest {
					t.Errorf("%d bytes got %d", len(request), len(d.b))
				}
			}
		}
		if got >= sent {
			t.Errorf("%d bytes were answered with %d", sent, got)
		}
	})
}

// What a member relays is bounded, each and all together.
func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{Bandwidth: 1_000_000, AllocationBandwidth: 250_000})
		peer := r.listen(t, peerHost+":51820")
		c := r.client(t, nodeID, false)
		c.ready(t, peer)
		got, began := 0, time.Now()
		for time.Since(began) < 10*time.Second {
			for range 100 {
				c.WriteTo(make([]byte, 1000), peer.local)
			}
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			for len(peer.in) > 0 {
				got += len((<-peer.in).b)
			}
		}
		if got < 2_400_000 || got > 2_600_000 {
			t.Errorf("%d bytes passed in 10 s, want 2.5 MB", got)
		}
		if u := r.s.Usage(); u[0].Dropped == 0 {
			t.Errorf("usage is %+v", u)
		}
	})
}

// Connections that do not ask for anything are closed, and bounded before.
func TestIdleStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{StreamsPerSource: 3})
		for i := range 10 {
			conn, err := r.dialTCP(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			began := time.Now()
			if i%5 < 3 {
				go func() { _, _ = conn.Write([]byte{0, 1}) }() // never goes on
				if i%5 < 2 {
					continue
				}
				time.Sleep(untilAllocated - time.Second)
				synctest.Wait()
				continue
			}
			_, err = conn.Read(make([]byte, 1))
			if took := time.Since(began); err == nil || took > 0 {
				t.Errorf("connection %d ended after %v: %v", i, took, err)
			}
			if i == 4 { // those of before end, and make room
				time.Sleep(2 * time.Second)
			}
		}
	})
}

func FuzzInitiation(f *testing.F) {
	k := macKey(ownerKey)
	f.Add(initiation(ownerKey))
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isInitiation(b, &k) {
			return
		}
		changed := append([]byte(nil), b...)
		changed[20] ^= 1
		if len(b) != initiationSize || isInitiation(changed, &k) {
			t.Errorf("%x is taken for an initiation", changed)
		}
	})
}
