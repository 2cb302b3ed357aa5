package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// startInMemory starts a server without sockets, which would stop the clock of a
// synctest bubble.
func startInMemory(t *testing.T, c Config) (srv *Server, lis *bufconn.Listener, stop func() error) {
	t.Helper()
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	lis = bufconn.Listen(64 << 10)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, lis) }()
	return srv, lis, func() error { cancel(); return <-served }
}

func dialInMemory(t *testing.T, open func(context.Context) (net.Conn, error), opts ...grpc.DialOption) (pb.ClusterClient, *grpc.ClientConn) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///memory", append(opts,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return open(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	return pb.NewClusterClient(conn), conn
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, lis, stop := startInMemory(t, Config{})
		client, conn := dialInMemory(t, lis.DialContext)
		begin := time.Now()
		list := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			_, err := client.List(ctx, &pb.ListRequest{ClusterId: "c"})
			return err
		}
		for range requestBurst {
			if err := list(time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the burst took %v", took)
		}
		// No token within the deadline: the request is refused at once.
		err := list(10 * time.Millisecond)
		if got := status.Convert(err); got.Code() != codes.ResourceExhausted || got.Message() != "rate limit exceeds request timeout" {
			t.Errorf("beyond the burst: %v", err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the refusal took %v", took)
		}
		// A token within the deadline: the request waits for it.
		for range requestRate {
			if err := list(time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin).Round(time.Millisecond); took != time.Second {
			t.Errorf("%d more requests took %v, want 1s", requestRate, took)
		}
		// Opening a watch takes a token too, and has no deadline.
		ctx, cancel := context.WithCancel(context.Background())
		begin = time.Now()
		for range 5 * requestRate {
			stream, err := client.Watch(ctx, &pb.WatchRequest{ClusterId: "c"})
			if err != nil {
				t.Fatal(err)
			}
			recv(t, stream)
		}
		if took := time.Since(begin).Round(time.Millisecond); took != 5*time.Second {
			t.Errorf("%d watches took %v, want 5s", 5*requestRate, took)
		}
		cancel()
		conn.Close()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestRateLimitWithoutDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, addr := newClients(), netip.MustParsePrefix("192.0.2.1/32")
		var waiting sync.WaitGroup
		results := make(chan error, 2000)
		for range cap(results) {
			waiting.Go(func() { results <- c.wait(context.Background(), addr) })
		}
		waiting.Wait()
		close(results)
		admitted := 0
		for err := range results {
			if err == nil {
				admitted++
			} else if !errors.Is(err, errRate) {
				t.Fatal(err)
			}
		}
		// The last token comes exactly when the minute ends; rounding decides about it.
		if want := requestBurst + 60*requestRate; admitted != want && admitted != want-1 {
			t.Errorf("%d of %d requests got a token within a minute, want %d", admitted, cap(results), want)
		}
	})
}

func TestCancelledWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClients()
		for range requestBurst {
			if err := c.wait(context.Background(), netip.Prefix{}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error)
		go func() { result <- c.wait(ctx, netip.Prefix{}) }()
		synctest.Wait()
		cancel()
		if err := <-result; status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
	})
}

func TestClientsAreCountedByAddress(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::2:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		if got := clientKey(netip.MustParseAddr(tc.a)) == clientKey(netip.MustParseAddr(tc.b)); got != tc.same {
			t.Errorf("%s and %s share a limit: %v", tc.a, tc.b, got)
		}
	}
}

func TestClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClients()
		addr := func(i int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		}
		for i := range maxAddresses + 1000 {
			if err := c.wait(context.Background(), addr(i)); i < maxAddresses && err != nil {
				t.Fatal(err)
			}
		}
		if len(c.seen) > maxAddresses+1 {
			t.Errorf("%d addresses tracked", len(c.seen))
		}
		time.Sleep(2 * time.Minute)
		c.sweep(time.Now())
		if len(c.seen) != 0 {
			t.Errorf("%d addresses tracked after the sweep", len(c.seen))
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	lis := newBoundedListener(bufconn.Listen(1), newPool(2), nil, hclog.NewNullLogger())
	defer lis.Close()
	open := func() net.Conn {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		return lis.admit(a)
	}
	last := open()
	if last == nil || open() == nil {
		t.Fatal("refused too early")
	}
	if open() != nil {
		t.Error("one more was admitted")
	}
	last.Close()
	last.Close() // a second Close counts no connection
	if open() == nil {
		t.Error("refused although one has ended")
	}
	if open() != nil {
		t.Error("two more were admitted")
	}
	lis.closeConns()
	if len(lis.conns) != 0 || lis.pool.used != 0 {
		t.Errorf("%d connections left, %d counted", len(lis.conns), lis.pool.used)
	}
}
