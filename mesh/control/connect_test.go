package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh/control/http1"
)

// testAccess is a way into a mesh that has one name, "known", and one proxy.
type testAccess func(ctx context.Context, network, address string) (net.Conn, error)

func (d testAccess) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

func (testAccess) Lookup(name string) ([]netip.Addr, error) {
	if name != "known" {
		return nil, errTest
	}
	return []netip.Addr{netip.MustParseAddr("fd00::1")}, nil
}

func (d testAccess) Proxy(ctx context.Context, ready func(ProxyReply)) error {
	if d == nil {
		return errTest
	}
	ready(ProxyReply{Address: "127.0.0.1:1080", User: "u", Password: "p"})
	<-ctx.Done()
	return nil
}

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
	c := serveControl(t, testAccess(func(ctx context.Context, network, address string) (net.Conn, error) {
		if !strings.HasSuffix(address, "]:80") {
			return nil, errTest
		}
		return (&net.Dialer{}).DialContext(ctx, network, far.Addr().String())
	}))
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
		"node-2:81":         errTest.Error(),
	} {
		conn, _, resp := connect(address)
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 502 || !strings.Contains(string(body), want) {
			t.Errorf("CONNECT %s: %s %q, want %q", address, resp.Status, body, want)
		}
		_ = conn.Close()
	}
}

// A client that is gone without having read all is no end of what it sent.
func TestControlConnectReset(t *testing.T) {
	near, far := tcpPair(t)
	c := serveControl(t, testAccess(func(context.Context, string, string) (net.Conn, error) { return near, nil }))
	conn, err := net.Dial("unix", c.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "CONNECT node-2:80 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	// All but the last byte.
	if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\na"))); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the node reads %v, want %v", err, syscall.ECONNRESET)
	}
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// A peer that doesn't answer holds nobody up.
func TestControlDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Server{cfg: Config{Access: testAccess(func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})}}
		start := time.Now()
		var out bytes.Buffer
		w := http1.NewResponse(&out)
		c.connect(t.Context(), t.Context(), w, &http1.Request{Method: http1.MethodConnect, Host: "node-2:80"})
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "no answer within 10s") || time.Since(start) != dialTimeout {
			t.Errorf("after %s: %s", time.Since(start), out.String())
		}
	})
}

// A proxy runs for as long as the client uses it, and ends with the agent.
func TestControlProxy(t *testing.T) {
	c := serveControl(t, testAccess(func(context.Context, string, string) (net.Conn, error) { return nil, errTest }))
	cl := NewClient(c.path)
	used := errors.New("used")
	err := cl.Proxy(t.Context(), func(p ProxyReply) error {
		if p.Address != "127.0.0.1:1080" || p.User != "u" || p.Password != "p" {
			t.Errorf("%+v", p)
		}
		return used
	})
	if !errors.Is(err, used) {
		t.Errorf("Proxy: %v", err)
	}
	none := serveControl(t, testAccess(nil))
	cl = NewClient(none.path)
	if err := cl.Proxy(t.Context(), nil); err == nil || err.Error() != errTest.Error() {
		t.Errorf("Proxy: %v, want %v", err, errTest)
	}
}

func TestControlLookup(t *testing.T) {
	c := serveControl(t, testAccess(nil))
	cl := NewClient(c.path)
	if addrs, err := cl.Lookup(t.Context(), "known"); err != nil || len(addrs) != 1 || addrs[0] != netip.MustParseAddr("fd00::1") {
		t.Errorf("Lookup: %v, %v", addrs, err)
	}
	if _, err := cl.Lookup(t.Context(), "other"); err == nil || err.Error() != errTest.Error() {
		t.Errorf("Lookup: %v, want %v", err, errTest)
	}
}

// A stopping agent ends tunnels whose ends would both wait.
func TestControlConnectEndsOnStop(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	c := serveControl(t, testAccess(func(context.Context, string, string) (net.Conn, error) { return far, nil }))
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
