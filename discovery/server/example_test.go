package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/wirespan/wirespan/discovery/server"
)

// A server of one cluster, with a certificate that clients know by its pin.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	cert, pin, err := server.Certificate("/var/lib/wirespan", time.Now(), nil)
	if err != nil {
		log.Fatal(err)
	}
	srv, err := server.New(server.Config{
		OnlyCluster:  "the cluster id",
		TLS:          &tls.Config{Certificates: []tls.Certificate{cert}},
		SnapshotPath: "/var/lib/wirespan/discovery.binpb",
	})
	if err != nil {
		log.Fatal(err)
	}
	lis, err := net.Listen("tcp", ":3000")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("clients check the pin %x\n", pin)
	if err := srv.Serve(ctx, lis); err != nil { // until interrupted
		log.Fatal(err)
	}
}
