package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
)

// flood sends one message over and over.
type flood struct {
	pb.UnimplementedClusterServer
	message *pb.WatchResponse
}

func (flood) Hello(context.Context, *pb.HelloRequest) (*pb.HelloResponse, error) {
	return &pb.HelloResponse{}, nil
}

func (f flood) Watch(_ *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	for stream.Send(f.message) == nil {
		continue
	}
	return nil
}

// benchmark connects to such a server over loopback.
func benchmark(b *testing.B, size int) *Conn {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterClusterServer(s, flood{message: &pb.WatchResponse{Affiliates: []*pb.Affiliate{{Data: make([]byte, size)}}}})
	go func() { _ = s.Serve(l) }()
	c, err := Dial(b.Context(), Config{Address: l.Addr().String(), Timeout: time.Minute, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close(); s.Stop() })
	return c
}

func benchmarkStream(b *testing.B, size int) {
	s, err := benchmark(b, size).Open(b.Context(), methods+"Watch", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Receive(2 << 20); err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}

// BenchmarkLarge measures a stream of messages of 1 MB, the server's part included.
func BenchmarkLarge(b *testing.B) { benchmarkStream(b, 1<<20) }

// BenchmarkSmall measures a stream of messages of 300 bytes.
func BenchmarkSmall(b *testing.B) { benchmarkStream(b, 300) }

// BenchmarkCall measures a call on a connection that is there.
func BenchmarkCall(b *testing.B) {
	c := benchmark(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Call(b.Context(), methods+"Hello", nil, 100); err != nil {
			b.Fatal(err)
		}
	}
}
