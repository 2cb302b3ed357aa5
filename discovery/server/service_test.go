package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wirespan/wirespan/discovery"
)

func update(cluster, affiliate string) *pb.AffiliateUpdateRequest {
	return &pb.AffiliateUpdateRequest{
		ClusterId: cluster, AffiliateId: affiliate, AffiliateData: []byte("x"), Ttl: durationpb.New(minute),
	}
}

// refusal is the outcome of a request. The texts are part of the protocol.
type refusal struct {
	name string
	err  error
	code codes.Code
	text string
}

func (r refusal) check(t *testing.T) {
	t.Helper()
	if got := status.Convert(r.err); got.Code() != r.code || got.Message() != r.text {
		t.Errorf("%s: %v %q, want %v %q", r.name, got.Code(), got.Message(), r.code, r.text)
	}
}

func TestIDs(t *testing.T) {
	r, ctx, long := start(t, Config{}), t.Context(), strings.Repeat("x", 257)
	hello := func(cluster string) error {
		_, err := r.client.Hello(ctx, &pb.HelloRequest{ClusterId: cluster})
		return err
	}
	list := func(cluster string) error {
		_, err := r.client.List(ctx, &pb.ListRequest{ClusterId: cluster})
		return err
	}
	watch := func(cluster string) error {
		stream, err := r.client.Watch(ctx, &pb.WatchRequest{ClusterId: cluster})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	remove := func(cluster, affiliate string) error {
		_, err := r.client.AffiliateDelete(ctx, &pb.AffiliateDeleteRequest{ClusterId: cluster, AffiliateId: affiliate})
		return err
	}
	const invalid = codes.InvalidArgument
	for _, tc := range []refusal{
		{"Hello without cluster", hello(""), invalid, "cluster ID can't be empty"},
		{"Hello long cluster", hello(long), invalid, "cluster ID is too long"},
		{"Hello longest cluster", hello(long[1:]), codes.OK, ""},
		{"List without cluster", list(""), invalid, "cluster ID can't be empty"},
		{"List long cluster", list(long), invalid, "cluster ID is too long"},
		{"Watch without cluster", watch(""), invalid, "cluster ID can't be empty"},
		{"Watch long cluster", watch(long), invalid, "cluster ID is too long"},
		{"Watch", watch("c"), codes.OK, ""},
		{"Delete without cluster", remove("", ""), invalid, "cluster ID can't be empty"},
		{"Delete without affiliate", remove("c", ""), invalid, "affiliate ID can't be empty"},
		{"Delete long affiliate", remove("c", long), invalid, "affiliate ID is too long"},
		{"Delete unknown", remove("c", "never seen"), codes.OK, ""},
	} {
		tc.check(t)
	}
}

func TestUpdateLimits(t *testing.T) {
	r, long := start(t, Config{}), strings.Repeat("x", 257)
	for i := range discovery.MaxAffiliates {
		mustUpdateAt(t, r.memory, Update{Cluster: "full", Affiliate: fmt.Sprint(i), TTL: minute}, time.Now())
	}
	endpoints := func(n, size int) (out [][]byte) {
		for i := range n {
			out = append(out, fmt.Appendf(nil, "%0*d", size, i))
		}
		return out
	}
	// At first every field is invalid; then they are corrected from front to back.
	bad := update("", "")
	bad.AffiliateData, bad.AffiliateEndpoints, bad.Ttl = make([]byte, 2049), endpoints(1, 33), durationpb.New(30*time.Minute+1)
	const invalid, exhausted = codes.InvalidArgument, codes.ResourceExhausted
	for _, tc := range []struct {
		name   string
		req    *pb.AffiliateUpdateRequest
		change func(*pb.AffiliateUpdateRequest)
		code   codes.Code
		text   string
	}{
		{"no cluster", bad, func(*pb.AffiliateUpdateRequest) {}, invalid, "cluster ID can't be empty"},
		{"long cluster", bad, func(r *pb.AffiliateUpdateRequest) { r.ClusterId = long }, invalid, "cluster ID is too long"},
		{"no affiliate", bad, func(r *pb.AffiliateUpdateRequest) { r.ClusterId = "c" }, invalid, "affiliate ID can't be empty"},
		{"long affiliate", bad, func(r *pb.AffiliateUpdateRequest) { r.AffiliateId = long }, invalid, "affiliate ID is too long"},
		{"data", bad, func(r *pb.AffiliateUpdateRequest) { r.AffiliateId = "a" }, invalid, "affiliate data is too big"},
		{"endpoint", bad, func(r *pb.AffiliateUpdateRequest) { r.AffiliateData = nil }, invalid, "affiliate endpoint is too big"},
		{"TTL", bad, func(r *pb.AffiliateUpdateRequest) { r.AffiliateEndpoints = nil }, invalid, "ttl is too large"},
		{"all at their limit", update(long[1:], long[1:]), func(r *pb.AffiliateUpdateRequest) {
			r.AffiliateData, r.AffiliateEndpoints, r.Ttl = make([]byte, 2048), endpoints(64, 32), durationpb.New(30*time.Minute)
		}, codes.OK, ""},
		{"no TTL", update("c", "b"), func(r *pb.AffiliateUpdateRequest) { r.Ttl = nil }, codes.OK, ""},
		{"negative TTL", update("c", "b"), func(r *pb.AffiliateUpdateRequest) { r.Ttl = durationpb.New(-minute) }, codes.OK, ""},
		{
			"too many endpoints", update("c", "d"), func(r *pb.AffiliateUpdateRequest) { r.AffiliateEndpoints = endpoints(65, 16) },
			exhausted, "too many endpoints in the affiliate",
		},
		{"too many affiliates", update("full", "a"), func(*pb.AffiliateUpdateRequest) {}, exhausted, "too many affiliates in the cluster"},
	} {
		tc.change(tc.req)
		_, err := r.client.AffiliateUpdate(t.Context(), tc.req)
		refusal{tc.name, err, tc.code, tc.text}.check(t)
	}
	huge := update("c", "a")
	huge.AffiliateData = make([]byte, maxMessageSize)
	if _, err := r.client.AffiliateUpdate(t.Context(), huge); status.Code(err) != exhausted { // grpc's own text
		t.Errorf("message too large: %v", err)
	}
}

func TestHello(t *testing.T) {
	for _, tc := range []struct {
		name     string
		cfg      Config
		headers  []string
		ip       string
		redirect string
	}{
		{"TCP peer", Config{}, nil, "127.0.0.1", ""},
		{"headers are not trusted", Config{}, []string{"x-real-ip", "192.0.2.1", "x-forwarded-for", "192.0.2.2"}, "127.0.0.1", ""},
		{"X-Real-IP", Config{TrustXRealIP: true}, []string{"x-real-ip", "192.0.2.1"}, "192.0.2.1", ""},
		{"IPv6, mapped", Config{TrustXRealIP: true}, []string{"x-real-ip", "::ffff:192.0.2.1"}, "192.0.2.1", ""},
		{"zone is dropped", Config{TrustXRealIP: true}, []string{"x-real-ip", "fe80::1%eth0"}, "fe80::1", ""},
		{"X-Real-IP is no address", Config{TrustXRealIP: true}, []string{"x-real-ip", "unknown"}, "127.0.0.1", ""},
		{"first of X-Forwarded-For", Config{TrustXForwardedFor: true}, []string{"x-forwarded-for", " 2001:db8::1, 192.0.2.2"}, "2001:db8::1", ""},
		{
			"X-Real-IP wins",
			Config{TrustXRealIP: true, TrustXForwardedFor: true},
			[]string{"x-forwarded-for", "192.0.2.2", "x-real-ip", "192.0.2.1"},
			"192.0.2.1", "",
		},
		{"redirect", Config{Redirect: "other.example:443"}, nil, "127.0.0.1", "other.example:443"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, tc.cfg)
			ctx := metadata.AppendToOutgoingContext(t.Context(), tc.headers...)
			resp, err := r.client.Hello(ctx, &pb.HelloRequest{ClusterId: "c", ClientVersion: "v1.2.3"})
			if err != nil {
				t.Fatal(err)
			}
			if ip, _ := netip.AddrFromSlice(resp.GetClientIp()); ip.String() != tc.ip {
				t.Errorf("client_ip %v, want %v", ip, tc.ip)
			}
			if got := resp.GetRedirect().GetEndpoint(); got != tc.redirect {
				t.Errorf("redirect %q, want %q", got, tc.redirect)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	r := start(t, Config{})
	stream, first := watch(t, r.client, "c")
	if len(first.GetAffiliates()) != 0 || first.GetDeleted() {
		t.Errorf("snapshot of nothing: %v", first)
	}
	req := update("c", "a")
	req.AffiliateEndpoints = [][]byte{[]byte("p")}
	if _, err := r.client.AffiliateUpdate(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.AffiliateUpdate(t.Context(), update("another cluster", "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.AffiliateDelete(t.Context(), &pb.AffiliateDeleteRequest{ClusterId: "c", AffiliateId: "a"}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`affiliates:{id:"a" data:"x" endpoints:"p"}`, `affiliates:{id:"a"} deleted:true`} {
		if got := strings.ReplaceAll(recv(t, stream).String(), "  ", " "); got != want {
			t.Errorf("message %d: %s, want %s", i, got, want)
		}
	}

	if _, err := r.client.AffiliateUpdate(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	_, first = watch(t, r.client, "c")
	list, err := r.client.List(t.Context(), &pb.ListRequest{ClusterId: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.GetAffiliates()) != 1 || first.GetAffiliates()[0].String() != list.GetAffiliates()[0].String() {
		t.Errorf("snapshot %v, list %v", first, list)
	}
}

func TestSlowClientIsAborted(t *testing.T) {
	r := start(t, Config{})
	stream, _ := watch(t, r.client, "c")
	for range 1000 { // 2 MB, far more than the buffers of the connection
		mustUpdateAt(t, r.memory, Update{Cluster: "c", Affiliate: "a", Data: make([]byte, 2048), TTL: minute}, time.Now())
	}
	var err error
	for err == nil {
		_, err = stream.Recv()
	}
	if got := status.Convert(err); got.Code() != codes.Aborted || got.Message() != "subscription canceled: lost update" {
		t.Errorf("stream ended with %v", err)
	}
}

func TestStopEndsWatchesCleanly(t *testing.T) {
	r := start(t, Config{})
	stream, _ := watch(t, r.client, "c")
	if err := r.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("watch ended with %v, want EOF", err)
	}
}

func TestOnlyCluster(t *testing.T) {
	r := start(t, Config{OnlyCluster: "ours"})
	if _, err := r.client.AffiliateUpdate(t.Context(), update("ours", "a")); err != nil {
		t.Errorf("ours: %v", err)
	}
	ctx := t.Context()
	_, helloErr := r.client.Hello(ctx, &pb.HelloRequest{ClusterId: "theirs"})
	_, updateErr := r.client.AffiliateUpdate(ctx, update("theirs", "a"))
	_, deleteErr := r.client.AffiliateDelete(ctx, &pb.AffiliateDeleteRequest{ClusterId: "theirs", AffiliateId: "a"})
	_, listErr := r.client.List(ctx, &pb.ListRequest{ClusterId: "theirs"})
	stream, watchErr := r.client.Watch(ctx, &pb.WatchRequest{ClusterId: "theirs"})
	if watchErr == nil {
		_, watchErr = stream.Recv()
	}
	for i, err := range []error{helloErr, updateErr, deleteErr, listErr, watchErr} {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("request %d for another cluster: %v", i, err)
		}
	}
}

// brokenStore fails in all ways in which a store can.
type brokenStore struct{}

func (brokenStore) Update(context.Context, Update, time.Time) error { panic("boom") }
func (brokenStore) Delete(context.Context, string, string) error    { return errors.New("no quorum") }

func (brokenStore) List(context.Context, string) ([]Affiliate, error) {
	return nil, fmt.Errorf("wrapped: %w", ErrTooManyClusters)
}

func (brokenStore) Watch(context.Context, string, netip.Addr) (Subscription, error) {
	return Subscription{}, errors.New("no quorum")
}

func TestStoreErrors(t *testing.T) {
	r := start(t, Config{Store: brokenStore{}})
	_, err := r.client.AffiliateUpdate(t.Context(), update("c", "a"))
	if got := status.Convert(err); got.Code() != codes.Internal || got.Message() != "internal error" {
		t.Errorf("panic became %v", err)
	}
	_, err = r.client.AffiliateDelete(t.Context(), &pb.AffiliateDeleteRequest{ClusterId: "c", AffiliateId: "a"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("failed store became %v", err)
	}
	_, err = r.client.List(t.Context(), &pb.ListRequest{ClusterId: "c"}, grpc.WaitForReady(true))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("limit became %v", err)
	}
}
