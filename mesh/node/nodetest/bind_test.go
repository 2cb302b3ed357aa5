package nodetest

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"golang.zx2c4.com/wireguard/conn"
)

func TestBind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter(1)
		a, b := NewBind(r.Internet().Host("192.0.2.1")), NewBind(r.Internet().Host("192.0.2.2"))
		receive, port, err := a.Open(51820)
		if err != nil || port != 51820 || len(receive) != 1 {
			t.Fatalf("Open = %d functions, port %d, %v", len(receive), port, err)
		}
		if _, _, err := a.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
			t.Errorf("Open twice: %v", err)
		}
		to, err := b.ParseEndpoint("192.0.2.1:51820")
		if err != nil || to.DstToString() != "192.0.2.1:51820" || to.DstIP() != netip.MustParseAddr("192.0.2.1") || len(to.DstToBytes()) != 6 {
			t.Errorf("endpoint %v, %v", to, err)
		}
		if err := b.Send([][]byte{{0}}, to); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Send on a closed bind: %v", err)
		}
		if _, port, err = b.Open(0); err != nil || port == 0 {
			t.Fatalf("Open(0) = port %d, %v", port, err)
		}
		initiation := make([]byte, 148)
		initiation[0] = 1
		if err := b.Send([][]byte{{7}, initiation}, to); err != nil {
			t.Fatal(err)
		}
		bufs, sizes, from := [][]byte{make([]byte, 200)}, make([]int, 1), make([]conn.Endpoint, 1)
		for i, want := range []int{1, len(initiation)} {
			n, err := receive[0](bufs, sizes, from)
			if n != 1 || err != nil || sizes[0] != want || from[0].DstIP() != netip.MustParseAddr("192.0.2.2") {
				t.Errorf("received %d of %d bytes from %v, %v", n, sizes[0], from[0], err)
			}
			if got := len(a.handshakes) == 1; got != (i == 1) {
				t.Errorf("after datagram %d, a handshake is signalled: %v", i, got)
			}
		}
		<-a.Handshakes()
		if err := errors.Join(a.Close(), b.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		if _, err := receive[0](bufs, sizes, from); !errors.Is(err, net.ErrClosed) {
			t.Errorf("receive on a closed bind: %v", err)
		}
	})
}
