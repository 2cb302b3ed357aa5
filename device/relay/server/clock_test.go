package server

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/mesh"
)

// A client whose clock is 56 years off makes its credentials by the time that the relay tells,
// also for its next connection, whose first request has them at once.
func TestClocks(t *testing.T) {
	for name, tt := range map[string]struct {
		off    time.Duration
		stream bool
	}{
		"behind, UDP":    {-56 * 365 * 24 * time.Hour, false},
		"behind, stream": {-56 * 365 * 24 * time.Hour, true},
		"ahead":          {56 * 365 * 24 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startRig(t, Limits{AllocationsPerMember: 8})
				dial, dialed := r.dialUDP("203.0.113.1"), make(chan net.Conn, 8)
				if tt.stream {
					dial = r.dialTCP
				}
				c := startClient(t, relay.Config{
					Dial: func(ctx context.Context) (net.Conn, error) {
						conn, err := dial(ctx)
						dialed <- conn
						return conn, err
					},
					Stream: tt.stream,
					Credentials: func(server time.Time) relay.Credentials {
						if server.IsZero() {
							server = time.Now().Add(tt.off)
						}
						return key.Credentials(nodeID, server)
					},
				})
				c.ready(t)
				time.Sleep(3 * time.Hour) // beyond the lifetime of credentials
				synctest.Wait()
				if n := c.Counters().Allocations; n != 1 {
					t.Errorf("%d allocations in 3 hours", n)
				}
				_ = (<-dialed).Close()
				c.wait(t, "with a new allocation", func(s relay.Status) bool { return s.State == relay.StateReady && c.Counters().Allocations == 2 })
			})
		})
	}
}

// While the mesh changes its secret, credentials of both are taken. Those of the former one are
// not, once the change is over: the client makes new ones.
func TestChangeOfSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		former, next := key, relay.NewKey("cluster", mesh.NewSecret([32]byte{9}))
		r := startRig(t, Limits{})
		r.setKeys(former, next)
		made := func(k *relay.Key) func(time.Time) relay.Credentials {
			return func(time.Time) relay.Credentials {
				r.mu.Lock()
				defer r.mu.Unlock()
				return k.Credentials(nodeID, time.Now())
			}
		}
		mine := former
		a := startClient(t, relay.Config{Dial: r.dialUDP("203.0.113.1"), Credentials: made(&mine)})
		b := startClient(t, relay.Config{Dial: r.dialUDP("203.0.113.2"), Credentials: made(&next)})
		a.ready(t)
		b.ready(t)
		r.mu.Lock()
		mine = next
		r.mu.Unlock()
		r.setKeys(next)
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, c := range []*client{a, b} {
			if s := c.Snapshot(); s.State != relay.StateReady || c.Counters().Allocations != 1 {
				t.Errorf("after the change: %+v", s)
			}
		}
	})
}
