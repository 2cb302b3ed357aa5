//go:build !edge

package access

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh/agent"
)

// An association sends to names and addresses, and receives from nobody else.
func TestAssociation(t *testing.T) {
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	port := uint16(echo.LocalAddr().(*net.UDPAddr).Port)
	loop := netip.MustParseAddr("127.0.0.1")
	k := newKnowledge()
	k.reach[loop] = agent.ReachMesh
	k.reach[remote] = agent.ReachOutside

	separate := outside(nil)
	separate.ListenUDP = func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") }
	for name, out := range map[string]*Outside{"mesh": nil, "one socket": outside(nil), "two sockets": separate} {
		t.Run(name, func(t *testing.T) {
			conn, err := NewNetwork(k, sockets{}, out).ListenPacket(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			stranger, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}, conn.(*association).inside.LocalAddr().(*net.UDPAddr))
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			if _, err := stranger.Write([]byte("unasked")); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.WriteTo([]byte("x"), "nobody.mesh", port); !errors.Is(err, errNoSuchHost) {
				t.Errorf("to a name that is not there: %v", err)
			}
			if _, err := conn.WriteTo([]byte("x"), own.String(), port); !errors.Is(err, errNotAllowed) {
				t.Errorf("to this host: %v", err)
			}
			if _, err := conn.WriteTo([]byte("hello"), loop.String(), port); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if err != nil || string(b[:n]) != "hello" {
				t.Fatalf("%q, %v", b[:n], err)
			}
			a := conn.(*association)
			if !a.knows(loop, a.inside) || a.knows(loop, a.outer) != (a.inside == a.outer) {
				t.Error("a datagram from outside under an address of the mesh is taken, or one from the mesh is not")
			}
			if _, err := echo.WriteToUDPAddrPort([]byte("back"), from); err != nil {
				t.Fatal(err)
			}
			n, source, err := conn.ReadFrom(b)
			if err != nil || string(b[:n]) != "back" || source != netip.AddrPortFrom(loop, port) {
				t.Errorf("received %q from %v, %v: a stranger's datagram?", b[:n], source, err)
			}
			waiting := make(chan error, 1)
			go func() {
				_, _, err := conn.ReadFrom(make([]byte, 100))
				waiting <- err
			}()
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if err := <-waiting; err == nil {
				t.Error("ReadFrom goes on after Close")
			}
		})
	}
}

// An idle association has no buffers, whether it has one socket or two.
func TestAssociationIdleMemory(t *testing.T) {
	separate := outside(nil)
	separate.ListenUDP = func() (net.PacketConn, error) { return net.ListenPacket("udp4", "127.0.0.1:0") }
	n := NewNetwork(newKnowledge(), sockets{}, separate)
	const associations = 20
	before := heap()
	for range associations {
		c, err := n.ListenPacket(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if each := (heap() - before) / associations; each > 16<<10 {
		t.Errorf("an idle association takes %d bytes", each)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What an association remembers is bounded.
func TestAssociationBounds(t *testing.T) {
	a := &association{network: NewNetwork(newKnowledge(), sockets{}, outside(nil)), ctx: t.Context(), resolved: map[string]destination{}, known: map[netip.Addr]bool{}}
	addr := netip.MustParseAddr("203.0.113.1")
	for range 3 * maxCorrespondents {
		addr = addr.Next()
		if _, err := a.resolve(addr.String(), 53); err != nil {
			t.Fatal(err)
		}
		if len(a.resolved) > maxResolved || len(a.known) > maxCorrespondents || !a.knows(addr, nil) {
			t.Fatalf("%d destinations, %d correspondents", len(a.resolved), len(a.known))
		}
	}
	if d := a.resolved[addr.String()]; time.Until(d.until) > resolvedTime {
		t.Errorf("remembered until %v", d.until)
	}
}
