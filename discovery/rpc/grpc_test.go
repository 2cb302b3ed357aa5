package rpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

// echo answers Hello with the version as the client's address, List with as many affiliates
// as the cluster id has bytes, and Watch with that three times and then nothing more.
type echo struct {
	pb.UnimplementedClusterServer
	hold bool // Watch does not end
}

func (echo) Hello(_ context.Context, r *pb.HelloRequest) (*pb.HelloResponse, error) {
	return &pb.HelloResponse{ClientIp: []byte(r.GetClientVersion())}, nil
}

func (echo) AffiliateDelete(context.Context, *pb.AffiliateDeleteRequest) (*pb.AffiliateDeleteResponse, error) {
	return nil, grpcstatus.Error(codes.PermissionDenied, "100 % “not you”\n")
}

func (echo) List(_ context.Context, r *pb.ListRequest) (*pb.ListResponse, error) {
	return &pb.ListResponse{Affiliates: affiliates(len(r.GetClusterId()))}, nil
}

func (e echo) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	for range 3 {
		if err := stream.Send(&pb.WatchResponse{Affiliates: affiliates(len(r.GetClusterId()))}); err != nil {
			return err
		}
	}
	if e.hold {
		<-stream.Context().Done()
	}
	return nil
}

func affiliates(n int) []*pb.Affiliate {
	list := make([]*pb.Affiliate, n)
	for i := range list {
		list[i] = &pb.Affiliate{Data: make([]byte, 2000)}
	}
	return list
}

const methods = "/sidero.discovery.server.Cluster/"

// grpcServer runs a server of grpc-go in memory, in virtual time.
func grpcServer(t *testing.T, hold bool, cfg Config, body func(*testing.T, *Conn), opts ...grpc.ServerOption) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 16)
		s := grpc.NewServer(opts...)
		pb.RegisterClusterServer(s, echo{hold: hold})
		go func() { _ = s.Serve(l) }()
		defer s.Stop()
		cfg.Address, cfg.Timeout = "a:1", time.Second
		cfg.Dial = func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		body(t, c)
	})
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everything calls each kind of method.
func everything(t *testing.T, c *Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var hello pb.HelloResponse
	b, err := c.Call(ctx, methods+"Hello", encode(t, &pb.HelloRequest{ClientVersion: strings.Repeat("v", 100_000)}), 1<<20)
	if err != nil || proto.Unmarshal(b, &hello) != nil || len(hello.GetClientIp()) != 100_000 {
		t.Errorf("Hello: %d bytes, %v", len(hello.GetClientIp()), err)
	}
	if _, err = c.Call(ctx, methods+"AffiliateDelete", nil, 100); codeOf(err) != PermissionDenied || err.Error() != "PermissionDenied: 100 % “not you”\n" {
		t.Errorf("AffiliateDelete: %v", err)
	}
	if _, err = c.Call(ctx, methods+"AffiliateUpdate", nil, 100); codeOf(err) != Unimplemented {
		t.Errorf("AffiliateUpdate: %v", err)
	}
	var list pb.ListResponse
	full := encode(t, &pb.ListRequest{ClusterId: strings.Repeat("x", 2000)})
	b, err = c.Call(ctx, methods+"List", full, 5<<20)
	if err != nil || proto.Unmarshal(b, &list) != nil || len(list.GetAffiliates()) != 2000 {
		t.Errorf("List: %d affiliates, %v", len(list.GetAffiliates()), err)
	}
	if _, err = c.Call(ctx, methods+"List", full, 1<<20); codeOf(err) != ResourceExhausted {
		t.Errorf("a long List: %v", err)
	}
	s, err := c.Open(ctx, methods+"Watch", full)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		if b, err = s.Receive(5 << 20); err != nil || len(b) < 4_000_000 {
			t.Errorf("Watch: %d bytes, %v", len(b), err)
		}
	}
	if _, err = s.Receive(100); !errors.Is(err, io.EOF) {
		t.Errorf("at the end of Watch: %v", err)
	}
}

// certificate returns one that nobody trusts.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestServersOfGRPC(t *testing.T) {
	secured := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	for name, tc := range map[string]struct {
		tls  *tls.Config
		opts []grpc.ServerOption
	}{
		"plaintext":       {nil, nil},
		"TLS":             {&tls.Config{InsecureSkipVerify: true}, []grpc.ServerOption{grpc.Creds(secured)}},
		"TLS 1.2":         {&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, []grpc.ServerOption{grpc.Creds(secured)}},
		"small windows":   {nil, []grpc.ServerOption{grpc.StaticStreamWindowSize(64 << 10), grpc.StaticConnWindowSize(64 << 10)}},
		"small buffers":   {nil, []grpc.ServerOption{grpc.WriteBufferSize(0), grpc.ReadBufferSize(0)}},
		"one stream":      {nil, []grpc.ServerOption{grpc.MaxConcurrentStreams(1)}},
		"no header table": {nil, []grpc.ServerOption{grpc.HeaderTableSize(0)}},
		"its own pings":   {nil, []grpc.ServerOption{grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Second, Timeout: time.Second})}},
	} {
		t.Run(name, func(t *testing.T) { grpcServer(t, false, Config{TLS: tc.tls}, everything, tc.opts...) })
	}
}

// With one stream at a time a call waits until the stream before it ends, and no longer
// than its own time.
func TestOneStream(t *testing.T) {
	grpcServer(t, true, Config{}, func(t *testing.T, c *Conn) {
		s, err := c.Open(t.Context(), methods+"Watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Call(ctx, methods+"Hello", nil, 100); codeOf(err) != DeadlineExceeded {
			t.Errorf("beside a stream: %v", err)
		}
		s.Close()
		if _, err := c.Call(t.Context(), methods+"Hello", nil, 100); err != nil {
			t.Errorf("after it: %v", err)
		}
	}, grpc.MaxConcurrentStreams(1))
}

// watched returns how a stream on an idle connection ends within a day of pings.
func watched(t *testing.T, minimum time.Duration) (err error) {
	t.Helper()
	grpcServer(t, true, Config{Ping: 10 * time.Second}, func(t *testing.T, c *Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		s, openErr := c.Open(ctx, methods+"Watch", nil)
		if openErr != nil {
			t.Fatal(openErr)
		}
		defer s.Close()
		for err == nil {
			_, err = s.Receive(100)
		}
	}, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minimum}))
	return err
}

func TestPings(t *testing.T) {
	if err := watched(t, 5*time.Second); codeOf(err) != DeadlineExceeded {
		t.Errorf("a server that takes our pings: %v", err)
	}
	if err := watched(t, time.Minute); codeOf(err) != Unavailable || !strings.Contains(err.Error(), "ENHANCE_YOUR_CALM") || !strings.Contains(err.Error(), "too_many_pings") {
		t.Errorf("a server that wants fewer: %v", err)
	}
}

// A server that is shut down takes no more calls on the connection, and lets streams end.
func TestGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 16)
		g := grpc.NewServer()
		pb.RegisterClusterServer(g, echo{hold: true})
		go func() { _ = g.Serve(l) }()
		c, err := Dial(t.Context(), Config{Address: "a:1", Timeout: time.Second, Dial: func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := c.Open(t.Context(), methods+"Watch", nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { g.GracefulStop(); close(ended) }()
		synctest.Wait()
		if _, err := s.Receive(100); err != nil {
			t.Errorf("the stream: %v", err)
		}
		if _, err := c.Call(t.Context(), methods+"Hello", nil, 100); codeOf(err) != Unavailable {
			t.Errorf("a call: %v", err)
		}
		s.Close()
		<-ended
	})
}

// A server that speaks TLS and no HTTP/2 is told from one that does.
func TestOtherProtocols(t *testing.T) {
	for want, cfg := range map[string]*tls.Config{
		"the server does not speak HTTP/2": {},
		"no application protocol":          {NextProtos: []string{"http/1.1"}},
		"the server closed the connection": nil, // at once
	} {
		if cfg != nil {
			cfg.Certificates = []tls.Certificate{certificate(t)}
		}
		l := bufconn.Listen(1 << 16)
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if cfg == nil {
				_, _ = conn.Read(make([]byte, 1<<12))
				_ = conn.Close()
			} else {
				_ = tls.Server(conn, cfg).Handshake()
				_, _ = io.Copy(io.Discard, conn)
			}
		}()
		_, err := Dial(t.Context(), Config{
			Address: "a:1", TLS: &tls.Config{InsecureSkipVerify: true}, Timeout: time.Minute,
			Dial: func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) },
		})
		if codeOf(err) != Unavailable || !strings.Contains(err.Error(), "TLS handshake: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		_ = l.Close()
		<-done
	}
}
