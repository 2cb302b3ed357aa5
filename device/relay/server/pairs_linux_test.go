package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/mesh"
)

// BenchmarkPairs relays packets of clients to peers, on sockets of the kernel in one process:
// packets/s, processor time per 10⁹ bytes of all three, and what is lost.
func BenchmarkPairs(b *testing.B) {
	for _, transport := range []string{"singly", "UDP", "shared", "TLS"} {
		for _, pairs := range []int{1, 50} {
			b.Run(fmt.Sprintf("%s/%d", transport, pairs), func(b *testing.B) { relayPairs(b, transport, pairs) })
		}
	}
}

// kernelWorld is a relay and its clients in a namespace.
type kernelWorld struct {
	transport string
	inside    func(func() error) error
}

func (w *kernelWorld) listen(b testing.TB, at string) (s Socket) {
	b.Helper()
	err := w.inside(func() (err error) {
		s, err = w.open(netip.MustParseAddrPort(at))
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func (w *kernelWorld) open(at netip.AddrPort) (Socket, error) {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	s := burst.New(c)
	if w.transport == "singly" {
		return plain{s}, nil
	}
	return s, nil
}

// plain is a socket that moves no bursts.
type plain struct{ Socket }

// serve starts the relay.
func (w *kernelWorld) serve(b testing.TB) {
	b.Helper()
	cfg := Config{
		Public4: netip.MustParseAddr(realRelay), FirstPort: 40000, LastPort: 40099,
		Listen: func(_ string, port uint16) (s Socket, err error) {
			err = w.inside(func() (err error) {
				s, err = w.open(netip.AddrPortFrom(netip.MustParseAddr(realRelay), port))
				return err
			})
			return s, err
		},
		Keys:      func(string) []relay.Key { return []relay.Key{key} },
		Authorize: func(user string) (Member, bool) { return Member{Name: user}, true },
		Own:       func(netip.Addr) bool { return false }, WireGuardPort: func() uint16 { return 0 },
		Limits: Limits{Bandwidth: 1 << 40, AllocationBandwidth: 1 << 40, AllocationsPerSource: 100},
	}
	switch w.transport {
	case "shared":
		shared := relay.NewBind(bind.New(nil))
		if err := w.inside(func() error { return receiveAll(shared) }); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = shared.Close() })
		cfg.Sockets = []Socket{shared.Shared()}
	case "TLS":
		err := w.inside(func() error {
			l, err := net.Listen("tcp4", realRelay+":3478")
			cfg.Listeners = []net.Listener{NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate(b)}})}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	default:
		cfg.Sockets = []Socket{w.listen(b, realRelay+":3478")}
	}
	s, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	run(b, func(ctx context.Context) { _ = s.Run(ctx) })
}

// receiveAll opens the port of a device, and reads from it as a device does.
func receiveAll(s *relay.Bind) error {
	fns, _, err := s.Open(3478)
	for _, fn := range fns {
		go func() {
			bufs, sizes, eps := make([][]byte, 128), make([]int, 128), make([]conn.Endpoint, 128)
			for i := range bufs {
				bufs[i] = make([]byte, 2000)
			}
			for {
				if _, err := fn(bufs, sizes, eps); err != nil {
					return
				}
			}
		}()
	}
	return err
}

func run(b testing.TB, do func(context.Context)) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { do(ctx) })
	b.Cleanup(func() { cancel(); group.Wait() })
}

// client returns the bind of a member that has an address on the relay.
func (w *kernelWorld) client(b testing.TB, node string, peer netip.AddrPort) (*relay.Bind, conn.Endpoint) {
	b.Helper()
	system := relay.SystemDial(nil)
	access := &relay.Access{
		Dial: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			if (network == "udp") == (w.transport == "TLS") {
				return nil, errors.New("not this way")
			}
			err = w.inside(func() (err error) {
				c, err = system(ctx, network, address)
				return err
			})
			if conn, ok := c.(*burst.Conn); ok && w.transport == "singly" {
				c = conn.UDPConn
			}
			return c, err
		},
		Resolve:     func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no names") },
		Credentials: func(mesh.Relay, time.Time) relay.Credentials { return key.Credentials(node, time.Now()) },
	}
	sends := relay.NewBind(bind.New(nil))
	set, err := relay.NewSet(access, sends, hclog.NewNullLogger())
	if err != nil {
		b.Fatal(err)
	}
	run(b, set.Run)
	at := netip.MustParseAddrPort(realRelay + ":3478")
	set.Set(mesh.RelayWish{Relays: []mesh.Relay{{Name: "box", NodeID: "box", Servers: []netip.AddrPort{at}}}, Want: 1, Peers: []netip.AddrPort{peer}})
	for {
		if list := set.Relays(); len(list) == 1 && list[0].Permitted {
			break
		}
		select {
		case <-set.Changed():
		case <-time.After(30 * time.Second):
			b.Fatalf("no address: %+v", set.Relays())
		}
	}
	ep, err := sends.ParseEndpoint(mesh.Via(peer, "box").String())
	if err != nil {
		b.Fatal(err)
	}
	return sends, ep
}

// inFlight is how many packets are under way in all, at least 8 of each pair.
const inFlight = 256

func relayPairs(b *testing.B, transport string, pairs int) {
	namespace(b)
	w := &kernelWorld{transport, inNamespace(b)}
	w.serve(b)
	var left, lost atomic.Int64
	left.Store(int64(b.N))
	var starts []func()
	for i := range pairs {
		peer := w.listen(b, fmt.Sprintf("%s:%d", realPeer, 20000+i))
		sends, ep := w.client(b, fmt.Sprint("node", i), netip.AddrPortFrom(netip.MustParseAddr(realPeer), uint16(20000+i)))
		starts = append(starts, func() { lost.Add(flow(sends, ep, bursts(peer), &left, max(8, inFlight/pairs))) })
		b.Cleanup(func() { peer.Close() })
	}
	runtime.GC()
	before := processorTime()
	b.SetBytes(benchSize)
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for _, start := range starts {
		group.Go(start)
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric((processorTime()-before).Seconds()/(float64(b.N)*benchSize/1e9), "cpu-s/GB")
	b.ReportMetric(100*float64(lost.Load())/float64(b.N), "%lost")
}

// flow sends a share of the packets, and returns how many were lost.
func flow(sends *relay.Bind, ep conn.Endpoint, peer burst.Socket, left *atomic.Int64, window int) (lost int64) {
	var received atomic.Int64
	arrived := mesh.NewSignal()
	go func() {
		buf := make([]byte, burst.Size)
		for {
			n, size, _, err := peer.ReadBurst(buf)
			if err != nil {
				return
			}
			received.Add(int64((n + size - 1) / size))
			arrived.Notify()
		}
	}()
	bufs := make([][]byte, window/2)
	for i := range bufs {
		bufs[i] = make([]byte, benchSize)
	}
	sent := int64(0)
	for timer := time.NewTimer(0); ; {
		for sent-lost-received.Load() > int64(window/2) {
			timer.Reset(200 * time.Millisecond)
			select {
			case <-arrived:
			case <-timer.C:
				lost = sent - received.Load()
			}
		}
		n := int64(len(bufs))
		if over := -left.Add(-n); over > 0 {
			n -= over
		}
		if n <= 0 {
			break
		}
		_ = sends.Send(bufs[:n], ep)
		sent += n
	}
	for sent-lost > received.Load() {
		select {
		case <-arrived:
		case <-time.After(200 * time.Millisecond):
			return sent - received.Load()
		}
	}
	return lost
}

func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
