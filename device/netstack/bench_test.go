package netstack_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	upstream "golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh"
)

const (
	benchMTU  = 1420
	benchPort = 80
)

var hosts = [2]netip.Addr{netip.MustParseAddr("fd00::a"), netip.MustParseAddr("fd00::b")}

// host is a stack, of this package or of upstream.
type host struct {
	plane  tun.Device
	dial   func(context.Context, netip.AddrPort) (net.Conn, error)
	listen func(netip.AddrPort) (net.Listener, error)
}

func ours(b *testing.B, address netip.Addr) host {
	n, err := netstack.New(netstack.Config{Addresses: []netip.Addr{address}, MTU: benchMTU})
	if err != nil {
		b.Fatal(err)
	}
	return host{n, n.DialTCPAddrPort, n.ListenTCP}
}

// filtered returns one of our stacks with a filter that admits only the benchmark's
// connections.
func filtered(b *testing.B, address netip.Addr) host {
	h := ours(b, address)
	h.plane.(*netstack.Netstack).SetIngress(func(_, _ netip.Addr, _ uint8, port uint16) bool { return port == benchPort })
	return h
}

func theirs(b *testing.B, address netip.Addr) host {
	plane, n, err := upstream.CreateNetTUN([]netip.Addr{address}, nil, benchMTU)
	if err != nil {
		b.Fatal(err)
	}
	return host{
		plane,
		func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return n.DialContextTCPAddrPort(ctx, to)
		},
		func(at netip.AddrPort) (net.Listener, error) { return n.ListenTCPAddrPort(at) },
	}
}

var kinds = []struct {
	name string
	open func(*testing.B, netip.Addr) host
}{{"wirespan", ours}, {"wirespan-filtered", filtered}, {"wireguard-go", theirs}}

// BenchmarkLink measures the stacks alone: it joins two of them in memory.
func BenchmarkLink(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			pair := [2]host{kind.open(b, hosts[0]), kind.open(b, hosts[1])}
			var pumps sync.WaitGroup
			pumps.Go(func() { pump(pair[0].plane, pair[1].plane) })
			pumps.Go(func() { pump(pair[1].plane, pair[0].plane) })
			defer func() { _, _ = pair[0].plane.Close(), pair[1].plane.Close(); pumps.Wait() }()
			bulk(b, pair)
		})
	}
}

// pump carries packets from one stack to another, as a device does.
func pump(from, to tun.Device) {
	const offset = 16
	bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
	out := make([][]byte, 0, len(bufs))
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for {
		n, err := from.Read(bufs, sizes, offset)
		if err != nil {
			return
		}
		out = out[:0]
		for i := range n {
			out = append(out, bufs[i][:offset+sizes[i]])
		}
		_, _ = to.Write(out, offset)
	}
}

// BenchmarkDevice runs WireGuard over loopback between two stacks: our stacks with our
// device, upstream's stacks with upstream's device.
func BenchmarkDevice(b *testing.B) {
	b.Run("wirespan", func(b *testing.B) {
		var keys [2]mesh.PrivateKey
		var devs [2]*device.Device
		pair := [2]host{ours(b, hosts[0]), ours(b, hosts[1])}
		for i := range pair {
			keys[i] = newKey()
			var err error
			devs[i], err = device.Open(device.Config{TUN: pair[i].plane.(*netstack.Netstack), Bind: bind.New(nil), PrivateKey: keys[i]})
			if err != nil {
				b.Fatal(err)
			}
			defer devs[i].Close()
		}
		for i := range pair {
			other := 1 - i
			err := devs[i].Apply([]mesh.PeerConfig{{
				PublicKey: keys[other].Public(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(hosts[other], 128)},
				Endpoint: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), devs[other].ListenPort()),
			}})
			if err != nil {
				b.Fatal(err)
			}
		}
		bulk(b, pair)
	})
	b.Run("wireguard-go", func(b *testing.B) {
		var keys [2]mesh.PrivateKey
		var devs [2]*wireguard.Device
		pair := [2]host{theirs(b, hosts[0]), theirs(b, hosts[1])}
		for i := range pair {
			keys[i] = newKey()
			devs[i] = wireguard.NewDevice(pair[i].plane, conn.NewDefaultBind(), wireguard.NewLogger(wireguard.LogLevelSilent, ""))
			defer devs[i].Close()
		}
		for i := range pair {
			other := 1 - i
			private, public := keys[i].Reveal(), keys[other].Public()
			config := fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=%s/128\nendpoint=127.0.0.1:%d\n",
				hex.EncodeToString(private[:]), 51900+i, hex.EncodeToString(public[:]), hosts[other], 51900+other)
			if err := devs[i].IpcSet(config); err != nil {
				b.Fatal(err)
			}
			if err := devs[i].Up(); err != nil {
				b.Fatal(err)
			}
		}
		bulk(b, pair)
	})
}

func newKey() mesh.PrivateKey {
	var k [mesh.KeySize]byte
	_, _ = rand.Read(k[:])
	return mesh.NewPrivateKey(k)
}

// bulk measures one TCP stream, with 64 KiB per operation.
func bulk(b *testing.B, pair [2]host) {
	l, err := pair[1].listen(netip.AddrPortFrom(hosts[1], benchPort))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	received := make(chan int64)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(received)
			return
		}
		n, _ := io.CopyBuffer(onlyWriter{io.Discard}, c, make([]byte, 64<<10))
		_ = c.Close()
		received <- n
	}()
	c, err := pair[0].dial(b.Context(), netip.AddrPortFrom(hosts[1], benchPort))
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 64<<10)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := c.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close()
	if n := <-received; n != int64(b.N*len(data)) {
		b.Fatalf("received %d bytes of %d", n, b.N*len(data))
	}
}

// onlyWriter hides the method ReadFrom, which would use another buffer size.
type onlyWriter struct{ io.Writer }
