package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/wirespan/wirespan/discovery/server"
)

// A server of one cluster with a self-signed certificate, which clients check by
// its pin.
func Example() {
	cert, pin, err := server.MemoryCertificate(time.Now())
	if err != nil {
		log.Fatal(err)
	}
	srv, err := server.New(server.Config{
		OnlyCluster: "the cluster id",
		TLS:         &tls.Config{Certificates: []tls.Certificate{cert}},
	})
	if err != nil {
		log.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, lis) }()
	fmt.Printf("clients connect to %s and check a pin of %d bytes\n", lis.Addr().Network(), len(pin))
	stop()
	fmt.Println("stopped:", <-served)
	// Output:
	// clients connect to tcp and check a pin of 32 bytes
	// stopped: <nil>
}
