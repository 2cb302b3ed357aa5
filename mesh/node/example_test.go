//go:build !edge

package node_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/node"
)

// A web server that only nodes of the mesh reach, and a client: two nodes in one process,
// without privileges, state on disk or anything else that outlives them.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server := start(ctx, "web", nil)
	defer server.Close()
	l, err := server.Listen("tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, "hello from", r.Host)
	})
	go func() { _ = http.Serve(l, hello) }()

	client := start(ctx, "client", invitation(server))
	defer client.Close()
	web := &http.Client{Transport: &http.Transport{DialContext: client.Dial}}
	resp, err := web.Get("http://web.mesh/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(text))
	// Output: hello from web.mesh
}

// start starts a node. Without a token it founds a mesh.
func start(ctx context.Context, name string, token *config.Token) *node.Node {
	c, err := config.New(map[string]string{
		"backend": "netstack", "stateDir": "memory", "nodename": name, "listenPort": "0",
		"discoveryListen": "127.0.0.1:0", // of the founder; other hosts would need ":51820"
	})
	if err != nil {
		log.Fatal(err)
	}
	n, err := node.Start(ctx, node.Config{Config: c, Token: token})
	if err != nil {
		log.Fatal(err)
	}
	return n
}

// invitation returns what a node needs to join.
func invitation(founder *node.Node) *config.Token {
	text, err := founder.NewToken(1, time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	token, err := config.ParseToken(text)
	if err != nil {
		log.Fatal(err)
	}
	return &token
}
