package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// downloadSize is the size of each download.
const downloadSize = 10 << 20

// webServer is an HTTP server with downloadSize bytes at a mesh address.
type webServer struct {
	address string
	sum     [sha256.Size]byte
}

// web starts a server at the node's mesh address.
func (n *labNode) web() webServer {
	n.Helper()
	body := make([]byte, downloadSize)
	_, _ = rand.NewChaCha8([32]byte{byte(n.number)}).Read(body)
	address := netip.AddrPortFrom(n.mustStatus().Node.Address, 0).String()
	var l net.Listener
	err := n.inside(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		n.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // until Close
	}()
	n.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return webServer{l.Addr().String(), sha256.Sum256(body)}
}

// dialer opens a connection to an address.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// fetch downloads a page over a connection of dial.
func fetch(dial dialer, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	transport := &http.Transport{DialContext: dial}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return body, err
}

// downloads downloads all bytes of the server and checks them.
func (n *labNode) downloads(from webServer, dial dialer) {
	n.Helper()
	started := time.Now()
	body, err := fetch(dial, from.address)
	if err != nil {
		n.Fatalf("download to %s: %v", n.name, err)
	}
	if sha256.Sum256(body) != from.sum {
		n.Fatalf("download to %s: %d bytes arrived damaged", n.name, len(body))
	}
	n.Logf("download of %d MiB to %s took %s", downloadSize>>20, n.name, time.Since(started).Round(time.Millisecond))
}

// through connects through the mesh of a netstack node, by its control socket.
func (n *labNode) through(ctx context.Context, _, address string) (net.Conn, error) {
	return n.control.Connect(ctx, address)
}
