package server

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a server on loopback, with a client.
type running struct {
	*Server
	addr   string
	client pb.ClusterClient
	stop   func() error // stops the server, once, and returns Serve's error
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, lis) }()
	r := &running{Server: srv, addr: lis.Addr().String()}
	stopped := false
	r.stop = func() error {
		cancel()
		stopped = true
		return <-served
	}
	t.Cleanup(func() {
		if !stopped {
			if err := r.stop(); err != nil {
				t.Errorf("Serve: %v", err)
			}
		}
	})
	creds := insecure.NewCredentials()
	if c.TLS != nil {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	r.client = dial(t, r.addr, creds)
	return r
}

func dial(t testing.TB, addr string, creds credentials.TransportCredentials) pb.ClusterClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pb.NewClusterClient(conn)
}

// watch opens a watch and returns its stream and its first message.
func watch(t testing.TB, c pb.ClusterClient, cluster string) (pb.Cluster_WatchClient, *pb.WatchResponse) {
	t.Helper()
	stream, err := c.Watch(t.Context(), &pb.WatchRequest{ClusterId: cluster})
	if err != nil {
		t.Fatal(err)
	}
	return stream, recv(t, stream)
}

func recv(t testing.TB, stream pb.Cluster_WatchClient) *pb.WatchResponse {
	t.Helper()
	msg, err := stream.Recv()
	if err != nil {
		t.Fatalf("Recv: %v", err)
	}
	return msg
}
