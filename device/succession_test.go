package device_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// A node changes its key while it and its peer ping each other: no ping is lost. The peer
// moves the networks when it is told that the other has called.
func TestSuccession(t *testing.T) {
	a, b := pair(t)
	mustPing(t, a, b.addr)
	mustPing(t, b, a.addr)
	next := newKey()
	old := a.peer()
	old.Endpoint = netip.AddrPort{}
	b.apply(t, old, mesh.PeerConfig{PublicKey: next.Public(), Standby: true})

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stop := make(chan struct{})
	var pings sync.WaitGroup
	for _, way := range []struct {
		from *node
		to   netip.Addr
	}{{a, b.addr}, {b, a.addr}} {
		pings.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// A ping that is lost has no reply before the context ends.
				if _, err := way.from.Ping(ctx, way.to, 56); err != nil {
					t.Errorf("ping of %s: %v", way.to, err)
					return
				}
			}
		})
	}
	if err := a.SetPrivateKey(next); err != nil {
		t.Fatal(err)
	}
	for {
		if s, _ := b.stats(t, next.Public()); s.ReceiveBytes > 0 {
			break
		}
		select {
		case <-b.Called():
		case <-ctx.Done():
			t.Fatal("nothing tells that the standby peer has called")
		}
	}
	successor := old
	successor.PublicKey = next.Public()
	b.apply(t, mesh.PeerConfig{PublicKey: old.PublicKey}, successor)
	mustPing(t, a, b.addr)
	mustPing(t, b, a.addr)
	close(stop)
	pings.Wait()
	if s, _ := b.stats(t, next.Public()); s.LastHandshakeTime.IsZero() {
		t.Error("no session with the new key")
	}
}
