package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/wirespan/wirespan/discovery"
)

func inUse(p *pool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// However many addresses take all they can get, another one finds room.
func TestPoolShares(t *testing.T) {
	p := newPool(1024)
	addr := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	var got []int
	for i := range 32 {
		for p.take(addr(i), 1) {
		}
		got = append(got, p.held[addr(i)])
	}
	if got[0] != 391 || p.full() {
		t.Errorf("the first address got %d of 1024, want 391; all together %v", got[0], got)
	}
	if !p.take(addr(1000), 1) {
		t.Errorf("32 greedy addresses left nothing: %v", got)
	}
	for i, n := range got {
		if n > 0 {
			p.put(addr(i), n)
		}
	}
	p.put(addr(1000), 1)
	if p.used != 0 || len(p.held) != 0 {
		t.Errorf("%d used by %v in the end", p.used, p.held)
	}
	if p.take(netip.Prefix{}, 1025) || !p.take(netip.Prefix{}, 1024) {
		t.Error("what has no address is not bounded by the total")
	}
}

// All addresses of one /64 share what one address may have.
func TestWatchesOfOneSubnet(t *testing.T) {
	pools := newPools(true)
	admitted := 0
	for i := range ownWatches {
		addr := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)})
		if pools.watches.take(clientKey(addr), 1) {
			admitted++
		}
	}
	if admitted != 782 {
		t.Errorf("one /64 opened %d watches of %d", admitted, ownWatches)
	}
	if !pools.watches.take(clientKey(netip.MustParseAddr("2001:db8:0:1::1")), 1) {
		t.Error("nothing is left for another /64")
	}
}

func TestAffiliatesOfOneAddress(t *testing.T) {
	m := newTestMemory("c")
	put := func(i int, from string) error {
		return m.Update(t.Context(), Update{Cluster: "c", Affiliate: fmt.Sprint(i), TTL: minute, From: netip.MustParseAddr(from)}, t0)
	}
	made := 0
	var err error
	for err == nil {
		if err = put(made, "192.0.2.1"); err == nil {
			made++
		}
	}
	if made != 391 || !errors.Is(err, ErrTooManyFromAddress) {
		t.Errorf("one address made %d affiliates, then %v", made, err)
	}
	if err := put(made, "192.0.2.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
	if err := put(0, "192.0.2.1"); err != nil {
		t.Errorf("an affiliate that is there: %v", err)
	}
	m.expire(t0.Add(2 * minute))
	if m.affiliates.used != 0 {
		t.Errorf("%d affiliates counted in the end", m.affiliates.used)
	}
}

// padded appends an unknown field of n bytes to a request.
func padded(r *pb.HelloRequest, n int) *pb.HelloRequest {
	r.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), make([]byte, n)))
	return r
}

func TestLargeRequestsAreRefused(t *testing.T) {
	r := start(t, Config{})
	for name, req := range map[string]*pb.HelloRequest{
		"long version":  {ClusterId: "c", ClientVersion: strings.Repeat("x", maxMessageSize)},
		"unknown field": padded(&pb.HelloRequest{ClusterId: "c"}, maxMessageSize),
	} {
		if _, err := r.client.Hello(t.Context(), req); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.client.Hello(t.Context(), padded(&pb.HelloRequest{ClusterId: "c"}, 1000)); err != nil {
		t.Errorf("small unknown field: %v", err)
	}
}

// A request for another cluster is refused before it is decoded: what follows the id
// is not UTF-8, which would be another error.
func TestForeignRequestsAreNotDecoded(t *testing.T) {
	g := &gate{cfg: &Config{}, only: serving("ours"), clients: newClients(), pools: newPools(true)}
	request := func(clusters ...string) error {
		var raw []byte
		for _, c := range clusters {
			raw = appendBytes(raw, 1, []byte(c))
		}
		raw = appendBytes(raw, 2, []byte{0xff})
		receive := func(m any) error { *m.(*rawMessage) = raw; return nil }
		return g.receiver(t.Context(), &call{}, receive)(&pb.HelloRequest{})
	}
	for _, tc := range []struct {
		clusters []string
		want     codes.Code
	}{
		{[]string{"theirs"}, codes.PermissionDenied},
		{[]string{"ours", "theirs"}, codes.PermissionDenied}, // the last one counts
		{nil, codes.InvalidArgument},
		{[]string{"theirs", "ours"}, codes.Internal}, // decoded
	} {
		if err := request(tc.clusters...); status.Code(err) != tc.want {
			t.Errorf("%q: %v, want %v", tc.clusters, err, tc.want)
		}
	}
	if used := g.pools.pending.used; used != 0 {
		t.Errorf("%d requests pending in the end", used)
	}
}

// A request whose message does not come ends, and gives its place back.
func TestRequestWithoutMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, lis, stop := startInMemory(t, Config{})
		_, conn := dialInMemory(t, lis.DialContext)
		begin := time.Now()
		stream, err := conn.NewStream(context.Background(), &grpc.StreamDesc{ClientStreams: true}, pb.Cluster_Hello_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if used := inUse(srv.pools.pending); used != 1 {
			t.Errorf("%d requests pending", used)
		}
		if err := stream.RecvMsg(&pb.HelloResponse{}); status.Code(err) != codes.Canceled {
			t.Errorf("ended with %v", err)
		}
		if took := time.Since(begin); took != messageTimeout {
			t.Errorf("ended after %v", took)
		}
		synctest.Wait()
		if used := inUse(srv.pools.pending); used != 0 {
			t.Errorf("%d requests pending in the end", used)
		}
		conn.Close()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// Clients that do not read can't hold more answers than the pool has room for.
func TestAnswersAreCountedUntilTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, lis, stop := startInMemory(t, Config{OnlyCluster: "c"})
		for i := range discovery.MaxAffiliates {
			mustUpdateAt(t, srv.memory, Update{Cluster: "c", Affiliate: fmt.Sprint(i), Data: make([]byte, 2000), TTL: minute}, time.Now())
		}
		conn, err := grpc.NewClient("passthrough:///memory",
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithInitialWindowSize(64<<10), // does not grow
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		client := pb.NewClusterClient(conn)
		ctx, cancel := context.WithCancel(context.Background())
		var streams []pb.Cluster_WatchClient
		for range 2 * ownAnswers / (discovery.MaxAffiliates * 2000) {
			stream, err := client.Watch(ctx, &pb.WatchRequest{ClusterId: "c"})
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, stream)
		}
		synctest.Wait()
		if used := inUse(srv.pools.answers); used > ownAnswers || used < ownAnswers/2 {
			t.Errorf("%d bytes of answers of %d", used, ownAnswers)
		}
		var refused int
		for _, s := range slices.Backward(streams) {
			if _, err := s.Recv(); status.Code(err) == codes.ResourceExhausted {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if refused == 0 {
			t.Error("no answer was refused")
		}
		synctest.Wait()
		if used := inUse(srv.pools.answers); used != 0 {
			t.Errorf("%d bytes of answers after all were read", used)
		}
		cancel()
		conn.Close()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// Requests that wait for their turn hold their bytes, and no more.
func TestWaitersAreBounded(t *testing.T) { synctest.Test(t, waitersAreBounded) }

// waitersAreBounded needs a clock that stands still: each second admits some of those that wait.
func waitersAreBounded(t *testing.T) {
	g := &gate{cfg: &Config{}, only: new(only), clients: newClients(), pools: newPools(true)}
	addr := netip.MustParseAddr("192.0.2.1")
	for range requestBurst {
		if err := g.clients.wait(t.Context(), clientKey(addr)); err != nil {
			t.Fatal(err)
		}
	}
	big := &pb.AffiliateUpdateRequest{ClusterId: "c", AffiliateEndpoints: make([][]byte, 4000)}
	encoded, err := proto.Marshal(big)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	const requests = 900
	for range requests {
		go func() {
			receive := func(m any) error { *m.(*rawMessage) = slices.Clone(encoded); return nil }
			results <- g.receiver(ctx, &call{addr: addr}, receive)(&pb.AffiliateUpdateRequest{})
		}()
	}
	for range requests - ownPending/2 {
		if err := <-results; !errors.Is(err, errPending) && !errors.Is(err, errRate) {
			t.Errorf("refused with %v", err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("%d waiting requests take %d bytes", requests, grown)
	}
	cancel()
	for range ownPending / 2 {
		if err := <-results; err == nil {
			t.Error("a request was admitted, although its client has gone")
		}
	}
}
