package forward

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// BenchmarkMesh compares the peer's own connection between two stacks with one through a
// forward to a socket of this host.
func BenchmarkMesh(b *testing.B) {
	const block = 64 << 10
	measure := func(b *testing.B, l net.Listener, c net.Conn) {
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer server.Close()
		defer c.Close()
		b.SetBytes(block)
		b.ReportAllocs()
		b.ResetTimer()
		go func() {
			data := make([]byte, block)
			for range b.N {
				_, _ = c.Write(data)
			}
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, server); n != int64(b.N)*block {
			b.Errorf("received %d bytes, %v", n, err)
		}
	}
	b.Run("direct", func(b *testing.B) {
		n := newNode(b, nil)
		l, err := n.mesh.Listen(80)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		measure(b, l, n.dialMesh(b, "tcp", 80))
	})
	b.Run("forward", func(b *testing.B) {
		n := newNode(b, nil)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		n.set(b, Spec{Name: "f", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: uint16(l.Addr().(*net.TCPAddr).Port)})
		measure(b, l, n.dialMesh(b, "tcp", 80))
	})
	b.Run("local", func(b *testing.B) {
		n := newNode(b, nil)
		l, err := n.peer.ListenTCP(netip.AddrPortFrom(addrB, 80))
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		n.set(b, Spec{Name: "f", Kind: Local, Port: 80, Target: "b", TargetPort: 80})
		measure(b, l, n.dialHere(b, "tcp", "127.0.0.1:80"))
	})
}

// BenchmarkConnect opens a connection through a forward, passes a byte and closes it.
func BenchmarkConnect(b *testing.B) {
	n := newNode(b, nil)
	n.set(b, Spec{Name: "f", Kind: Mesh, Port: 80, Target: "127.0.0.1", TargetPort: echoHere(b)})
	b.ReportAllocs()
	for b.Loop() {
		c := n.dialMesh(b, "tcp", 80)
		ping(b, c, "x")
		_ = c.Close()
	}
}

func BenchmarkUDP(b *testing.B) {
	n := newNode(b, nil)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	n.set(b, Spec{Name: "f", Kind: Mesh, UDP: true, Port: 80, Target: "127.0.0.1", TargetPort: uint16(server.LocalAddr().(*net.UDPAddr).Port)})
	c := n.dialMesh(b, "udp", 80)
	data, buffer := make([]byte, 1200), make([]byte, maxDatagram)
	b.SetBytes(2 * 1200)
	b.ReportAllocs()
	for b.Loop() { // there and back
		if _, err := c.Write(data); err != nil {
			b.Fatal(err)
		}
		size, from, err := server.ReadFrom(buffer)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := server.WriteTo(buffer[:size], from); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buffer); err != nil {
			b.Fatal(err)
		}
	}
}
