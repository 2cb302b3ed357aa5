package server

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay"
)

// sink is a socket that takes everything, and has packets of a peer for whoever asks.
type sink struct {
	*memory
	peer netip.AddrPort
	in   chan int
	out  chan int
}

func (s *sink) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case n := <-s.in:
		return n, s.peer, nil
	case <-s.done:
		return s.memory.ReadFromUDPAddrPort(b)
	}
}

func (s *sink) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	if s.out != nil {
		s.out <- len(b)
	}
	return len(b), nil
}

// relaying returns an allocation with a client and a channel, whose sockets are sinks.
func relaying(t testing.TB) (a *allocation, f *front, client, peer netip.AddrPort, toClient *sink) {
	r := startRig(t, Limits{Bandwidth: 1 << 40, AllocationBandwidth: 1 << 40})
	p := r.listen(t, peerHost+":51820")
	c := r.client(t, nodeID, false)
	relayed := c.ready(t, p)
	r.s.mu.RLock()
	a = r.s.live[relayed]
	r.s.mu.RUnlock()
	toClient = &sink{memory: &memory{done: make(chan struct{})}}
	return a, a.front, *a.client.Load(), p.local, toClient
}

// copyOf returns an allocation that relays the same between sinks.
func copyOf(a *allocation, toPeer Socket, toClient *sink) *allocation {
	return &allocation{
		front: a.front, socket: single{toPeer}, writer: newDatagrams(toClient, a.front), relayed: a.relayed, usage: a.usage,
		bandwidth: a.bandwidth, strangers: a.strangers, channels: a.channels, peers: a.peers, permitted: a.permitted, admitted: a.admitted,
	}
}

const benchSize = 1452 // of WireGuard's packet with 1,420 bytes in it

// sending relays packets of a client to a peer, receiving the other way, each through all checks.
func sending(t testing.TB) func() {
	a, f, client, peer, toClient := relaying(t)
	out := copyOf(a, &sink{memory: toClient.memory, peer: peer}, toClient)
	f.mu.Lock()
	f.clients[client] = out
	f.mu.Unlock()
	t.Cleanup(func() {
		f.mu.Lock()
		f.clients[client] = a
		f.mu.Unlock()
	})
	frame := make([]byte, 4+benchSize)
	frame[0], frame[2], frame[3] = 0x40, benchSize>>8, benchSize&0xff
	sends := outward{run: burst.NewRun()}
	return func() {
		if f.take(frame, client, time.Now(), &sends) {
			t.Fatal("data went to pion")
		}
		sends.flush()
	}
}

func receiving(t testing.TB) func() {
	a, _, client, peer, toClient := relaying(t)
	in := make(chan int)
	toClient.out = make(chan int)
	b := copyOf(a, &sink{memory: toClient.memory, peer: peer, in: in}, toClient)
	b.client.Store(&client)
	go func() { _, _, _ = b.ReadFrom(nil) }()
	t.Cleanup(func() { close(toClient.done) })
	return func() {
		in <- benchSize
		if n := <-toClient.out; n != benchSize+4 {
			t.Fatalf("%d bytes", n)
		}
	}
}

func BenchmarkOutward(b *testing.B) { benchmark(b, sending(b)) }
func BenchmarkInward(b *testing.B)  { benchmark(b, receiving(b)) }

// BenchmarkClient sends packets by a channel into a socket in memory that drops them.
func BenchmarkClient(b *testing.B) { benchmark(b, clientSend(b)) }

func benchmark(b *testing.B, packet func()) {
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		packet()
	}
}

func clientSend(t testing.TB) func() {
	r := startRig(t, Limits{})
	p := r.listen(t, peerHost+":51820")
	c := startClient(t, clientConfig(r))
	c.ready(t, p)
	packet := make([]byte, benchSize)
	return func() {
		if !c.WriteTo(packet, p.local) {
			t.Fatal("not sent")
		}
	}
}

// A packet costs no allocation in the server, and none in the client.
func TestAllocs(t *testing.T) {
	for name, packet := range map[string]func(testing.TB) func(){"outward": sending, "inward": receiving, "client": clientSend} {
		t.Run(name, func(t *testing.T) {
			do := packet(t)
			if n := testing.AllocsPerRun(1000, do); n != 0 {
				t.Errorf("%v allocations per packet", n)
			}
		})
	}
}

// quiet is a connection whose data, in channels, goes nowhere.
type quiet struct{ *memory }

func (q quiet) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0]>>6 == 1 {
		return len(b), nil
	}
	return q.memory.Write(b)
}

func clientConfig(r *rig) relay.Config {
	dial := r.dialUDP("203.0.113.1")
	return relay.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			c, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return quiet{c.(*memory)}, nil
		},
		Credentials: func(time.Time) relay.Credentials { return key.Credentials(nodeID, time.Now()) },
	}
}
