package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wirespan/wirespan/discovery"
)

// The tests in this file: one address takes all it can get, over real gRPC in virtual
// time, and another one is still served.

// crowd is a server in memory that clients reach from addresses of their choice.
type crowd struct {
	*bufconn.Listener
	srv *Server

	mu    sync.Mutex // one dials at a time, so that Accept knows whom it accepts
	from  chan netip.Addr
	conns []*grpc.ClientConn
}

type addressedConn struct {
	net.Conn
	from netip.Addr
}

func (c addressedConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.from, 1024))
}

func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return addressedConn{conn, <-c.from}, nil
}

func (c *crowd) open(from string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from <- netip.MustParseAddr(from)
	return c.Dial()
}

// client returns a client with a connection of its own.
func (c *crowd) client(t *testing.T, from string) pb.ClusterClient {
	t.Helper()
	client, conn := dialInMemory(t, func(context.Context) (net.Conn, error) { return c.open(from) },
		grpc.WithInitialWindowSize(64<<10)) // does not grow
	c.conns = append(c.conns, conn)
	return client
}

// inCrowd runs a test in a bubble. Small shrinks the pools before the server starts.
func inCrowd(t *testing.T, cfg Config, small func(*Server), f func(*testing.T, *crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if small != nil {
			small(srv)
		}
		c := &crowd{Listener: bufconn.Listen(64 << 10), srv: srv, from: make(chan netip.Addr, 1)}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ctx, c) }()
		f(t, c)
		for _, conn := range c.conns {
			conn.Close()
		}
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// mustJoin fails unless the address can open a watch, and its affiliate appears there.
func (c *crowd) mustJoin(t *testing.T, cluster, from string) {
	t.Helper()
	client := c.client(t, from)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := client.Watch(ctx, &pb.WatchRequest{ClusterId: cluster})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Errorf("an honest address can't watch: %v", err)
		return
	}
	if _, err := client.AffiliateUpdate(ctx, update(cluster, "honest")); err != nil {
		t.Errorf("an honest address can't publish: %v", err)
		return
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Errorf("an honest address does not see itself: %v", err)
			return
		}
		if m.GetAffiliates()[0].GetId() == "honest" {
			return
		}
	}
}

const (
	greedy = "192.0.2.1"
	honest = "198.51.100.7"
)

// holdWatches opens watches from an address, each in a cluster of its own if spread, until
// the server refuses one, and returns how many it got.
func (c *crowd) holdWatches(t *testing.T, from string, spread bool) (n int, refusal error) {
	t.Helper()
	var client pb.ClusterClient
	for ; ; n++ {
		if n%maxStreams == 0 {
			client = c.client(t, from)
		}
		cluster := "c"
		if spread {
			cluster = fmt.Sprint(from, n)
		}
		stream, err := client.Watch(context.Background(), &pb.WatchRequest{ClusterId: cluster})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			return n, err
		}
	}
}

func TestWatchesOfOneCluster(t *testing.T) {
	for name, cfg := range map[string]Config{"public": {}, "one cluster": {OnlyCluster: "c"}} {
		t.Run(name, func(t *testing.T) {
			inCrowd(t, cfg, nil, func(t *testing.T, c *crowd) {
				var got []int
				for _, from := range []string{greedy, "192.0.2.2", "192.0.2.3", "192.0.2.4"} {
					n, err := c.holdWatches(t, from, false)
					if status.Code(err) != codes.ResourceExhausted {
						t.Errorf("%s: refused with %v", from, err)
					}
					got = append(got, n)
				}
				if got[0] != 782 || got[1] >= got[0] {
					t.Errorf("four addresses opened %v watches", got)
				}
				c.mustJoin(t, "c", honest)
			})
		})
	}
}

func TestWatchesOfManyClusters(t *testing.T) {
	small := func(s *Server) { s.pools.watches = newPool(64) }
	inCrowd(t, Config{}, small, func(t *testing.T, c *crowd) {
		if n, err := c.holdWatches(t, greedy, true); n != 24 || status.Convert(err).Message() != status.Convert(errWatches).Message() {
			t.Errorf("%d watches, then %v", n, err)
		}
		c.mustJoin(t, "c", honest)
	})
}

// fill publishes affiliates until the server refuses one.
func (c *crowd) fill(t *testing.T, from string, request func(int) *pb.AffiliateUpdateRequest) (n int, refusal error) {
	t.Helper()
	client := c.client(t, from)
	for ; ; n++ {
		if _, err := client.AffiliateUpdate(context.Background(), request(n)); err != nil {
			return n, err
		}
	}
}

func TestAffiliatesOfOneCluster(t *testing.T) {
	request := func(i int) *pb.AffiliateUpdateRequest {
		r := update("c", fmt.Sprint(i))
		r.Ttl.Seconds = int64(discovery.MaxTTL / time.Second)
		return r
	}
	for name, cfg := range map[string]Config{"public": {}, "one cluster": {OnlyCluster: "c"}} {
		t.Run(name, func(t *testing.T) {
			inCrowd(t, cfg, nil, func(t *testing.T, c *crowd) {
				if n, err := c.fill(t, greedy, request); n != 391 || status.Convert(err).Message() != string(ErrTooManyFromAddress) {
					t.Errorf("%d affiliates, then %v", n, err)
				}
				c.mustJoin(t, "c", honest)
			})
		})
	}
}

func TestAffiliatesOfManyClusters(t *testing.T) {
	request := func(i int) *pb.AffiliateUpdateRequest { return update(fmt.Sprint(i), "a") }
	for name, tc := range map[string]struct {
		small func(*memory)
		want  error
	}{
		"affiliates": {func(m *memory) { m.affiliates = newPool(64) }, ErrTooManyFromAddress},
		"clusters":   {func(m *memory) { m.shares = newPool(64) }, ErrTooManyClustersFromAddress},
	} {
		t.Run(name, func(t *testing.T) {
			inCrowd(t, Config{}, func(s *Server) { tc.small(s.memory) }, func(t *testing.T, c *crowd) {
				if n, err := c.fill(t, greedy, request); n != 24 || status.Convert(err).Message() != tc.want.Error() {
					t.Errorf("%d affiliates, then %v", n, err)
				}
				c.mustJoin(t, "c", honest)
			})
		})
	}
}

// All addresses of one /64 have one share.
func TestClustersOfOneSubnet(t *testing.T) {
	m := newTestMemory("")
	put := func(i int, from netip.Addr) error {
		return m.Update(t.Context(), Update{Cluster: fmt.Sprint(i), Affiliate: "a", TTL: minute, From: from}, t0)
	}
	var err error
	n := 0
	for ; err == nil; n++ {
		err = put(n, netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: byte(n >> 8), 15: byte(n)}))
	}
	if n-1 != 3819 || !errors.Is(err, ErrTooManyClustersFromAddress) {
		t.Errorf("one /64 made %d clusters, then %v", n-1, err)
	}
	if err := put(n, netip.MustParseAddr("2001:db8:0:1::1")); err != nil {
		t.Errorf("another /64: %v", err)
	}
	m.expire(t0.Add(2 * minute))
	if m.shares.used != 0 || m.affiliates.used != 0 {
		t.Errorf("%d clusters and %d affiliates counted in the end", m.shares.used, m.affiliates.used)
	}
}

func TestConnectionsOfOneAddress(t *testing.T) {
	small := func(s *Server) { s.pools.connections = newPool(64) }
	inCrowd(t, Config{}, small, func(t *testing.T, c *crowd) {
		var open []net.Conn
		for range 100 {
			conn, err := c.open(greedy)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
		synctest.Wait()
		if used := inUse(c.srv.pools.connections); used != 24 {
			t.Errorf("one address has %d connections", used)
		}
		c.mustJoin(t, "c", honest)
		for _, conn := range open {
			conn.Close()
		}
	})
}

// Requests whose message does not come wait, up to the share of their address.
func TestPendingOfOneAddress(t *testing.T) {
	small := func(s *Server) { s.pools.pending = newPool(64) }
	inCrowd(t, Config{}, small, func(t *testing.T, c *crowd) {
		c.client(t, greedy)
		conn := c.conns[0]
		for range 50 {
			if _, err := conn.NewStream(context.Background(), &grpc.StreamDesc{ClientStreams: true}, pb.Cluster_Hello_FullMethodName); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if used := inUse(c.srv.pools.pending); used != 24 {
			t.Errorf("%d requests of one address are pending", used)
		}
		c.mustJoin(t, "c", honest)
	})
}

// Answers that one address does not read leave room for those of others.
func TestAnswersOfOneAddress(t *testing.T) {
	inCrowd(t, Config{OnlyCluster: "c"}, nil, func(t *testing.T, c *crowd) {
		for i := range discovery.MaxAffiliates - 1 {
			mustUpdateAt(t, c.srv.memory, Update{Cluster: "c", Affiliate: fmt.Sprint(i), Data: make([]byte, 2000), TTL: minute}, time.Now())
		}
		var client pb.ClusterClient
		for i := range 20 { // 2 MB each
			if i%5 == 0 {
				client = c.client(t, greedy)
			}
			if _, err := client.Watch(context.Background(), &pb.WatchRequest{ClusterId: "c"}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if used := inUse(c.srv.pools.answers); used < 8<<20 || used > ownAnswers/2 {
			t.Errorf("answers for one address hold %d bytes of %d", used, ownAnswers)
		}
		list, err := c.client(t, honest).List(context.Background(), &pb.ListRequest{ClusterId: "c"}, grpc.MaxCallRecvMsgSize(8<<20))
		if err != nil || len(list.GetAffiliates()) != discovery.MaxAffiliates-1 {
			t.Errorf("an honest address gets %d affiliates, %v", len(list.GetAffiliates()), err)
		}
	})
}

// Requests for another cluster are refused without a token of the rate limit, but what
// they cost is limited, too.
func TestFloodOfForeignRequests(t *testing.T) {
	inCrowd(t, Config{OnlyCluster: "c"}, nil, func(t *testing.T, c *crowd) {
		const connections, each = 8, 50
		end := time.Now().Add(10 * time.Minute)
		var mu sync.Mutex
		answered := 0
		var flood sync.WaitGroup
		for range connections {
			client := c.client(t, greedy)
			for range each {
				flood.Go(func() {
					for time.Now().Before(end) {
						ctx, cancel := context.WithDeadline(context.Background(), end)
						_, err := client.Hello(ctx, &pb.HelloRequest{ClusterId: "theirs"})
						cancel()
						if status.Code(err) == codes.PermissionDenied {
							mu.Lock()
							answered++
							mu.Unlock()
						}
					}
				})
			}
		}
		time.Sleep(5 * time.Minute)
		begin := time.Now()
		c.mustJoin(t, "c", honest)
		if took := time.Since(begin); took != 0 {
			t.Errorf("an honest address waited for %v", took)
		}
		flood.Wait()
		if limit := (byteBurst + 600*byteRate) / refusalCost; answered > limit || answered < limit/2 {
			t.Errorf("%d foreign requests were answered in 10 minutes, the limit is %d", answered, limit)
		}
	})
}

// A flood of connections is closed before it costs handshakes.
func TestFloodOfConnections(t *testing.T) {
	inCrowd(t, Config{}, nil, func(t *testing.T, c *crowd) {
		served := 0
		for range 2000 {
			conn, err := c.open(greedy)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if inUse(c.srv.pools.connections) == 1 {
				served++
			}
			conn.Close()
			synctest.Wait()
		}
		if want := int(byteBurst+byteRate*maxDebt/time.Second) / connectionCost; served != want {
			t.Errorf("%d of 2000 connections at once were served, want %d", served, want)
		}
		c.mustJoin(t, "c", honest)
		time.Sleep(time.Hour)
		c.mustJoin(t, "d", greedy)
	})
}
