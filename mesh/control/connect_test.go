package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/agent"
)

// A tunnel passes the end of either direction on, as a TCP connection would.
func TestControlConnect(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	go func() {
		conn, err := far.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn) // until the client has ended its direction
		_, _ = fmt.Fprintf(conn, "got %s", all)
	}()
	c := serveControl(t, func(ctx context.Context, network, address string) (net.Conn, error) {
		if !strings.HasSuffix(address, "]:80") {
			return nil, errTest
		}
		return (&net.Dialer{}).DialContext(ctx, network, far.Addr().String())
	})
	peer := c.up().Address.String()
	connect := func(address string) (*net.UnixConn, *bufio.Reader, *http.Response) {
		t.Helper()
		conn, err := net.Dial("unix", c.path)
		if err != nil {
			t.Fatal(err)
		}
		// What follows the request at once belongs to the tunnel.
		if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\nearly ", address, address); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
		if err != nil {
			t.Fatal(err)
		}
		return conn.(*net.UnixConn), in, resp
	}
	conn, in, resp := connect("[" + peer + "]:80")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if _, err := io.WriteString(conn, "late"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in); err != nil || string(got) != "got early late" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = conn.Close()

	for address, want := range map[string]string{
		"[" + peer + "]:81": errTest.Error(),
		"[" + c.agent.Status().Node.Address.String() + "]:81": errTest.Error(), // this node itself
		"[fd00::2]:80":  "fd00::2 belongs to no peer of this node",
		"192.0.2.99:80": "192.0.2.99 belongs to no peer of this node",
		"node-2:80":     "not IP:PORT",
	} {
		conn, _, resp := connect(address)
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 502 || !strings.Contains(string(body), want) {
			t.Errorf("CONNECT %s: %s %q, want %q", address, resp.Status, body, want)
		}
		_ = conn.Close()
	}
}

// A peer that doesn't answer holds nobody up.
func TestControlDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t)
		defer h.stop()
		p := testPeer()
		h.found().Find(p)
		h.until(func(s *agent.Status) bool { return len(s.Peers) == 1 })
		c := &Server{cfg: Config{Agent: h.agent, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}}
		start := time.Now()
		_, err := c.dial(t.Context(), netip.AddrPortFrom(p.Address, 80).String())
		if err == nil || !strings.Contains(err.Error(), "no answer within 10s") || time.Since(start) != dialTimeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

// A stopping agent ends tunnels whose ends would both wait.
func TestControlConnectEndsOnStop(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	c := serveControl(t, func(context.Context, string, string) (net.Conn, error) { return far, nil })
	conn, err := net.Dial("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "CONNECT [%s]:80 HTTP/1.1\r\nHost: x\r\n\r\n", c.agent.Status().Node.Address); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if _, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect}); err != nil {
		t.Fatal(err)
	}
	c.stop()
	if _, err := in.ReadByte(); err == nil {
		t.Error("the tunnel goes on")
	}
	if _, err := near.Write([]byte("x")); err == nil {
		t.Error("the far side is open after the socket's end")
	}
}
