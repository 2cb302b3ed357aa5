package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/wirespan/wirespan/device/proxy"
)

// loopback is a network with one destination, whatever is asked for.
type loopback struct{ to string }

func (l loopback) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	fmt.Println("a client wants to get to", address)
	return new(net.Dialer).DialContext(ctx, network, l.to)
}

func (loopback) ListenPacket(context.Context) (proxy.PacketConn, error) {
	return nil, proxy.ErrNotAllowed
}

func ExampleServer_Serve() {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "this is %s", r.Host)
	}))
	defer web.Close()

	server, err := proxy.New(proxy.Config{Network: loopback{web.Listener.Addr().String()}, User: "me", Password: "secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- server.Serve(ctx, l) }()

	for _, scheme := range []string{"http", "socks5h"} {
		by := &url.URL{Scheme: scheme, User: url.UserPassword("me", "secret"), Host: l.Addr().String()}
		client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(by), DisableKeepAlives: true}}
		answer, err := client.Get("http://node-1.mesh/")
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		fmt.Printf("%s: %s\n", scheme, body)
	}
	stop()
	fmt.Println(<-done)
	// Output:
	// a client wants to get to node-1.mesh:80
	// http: this is node-1.mesh
	// a client wants to get to node-1.mesh:80
	// socks5h: this is node-1.mesh
	// <nil>
}
