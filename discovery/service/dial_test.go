package service

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/wirespan/wirespan/mesh"
)

// tlsServer serves a fake over TLS on loopback and returns its address and pin.
func tlsServer(t *testing.T) (addr string, pin [32]byte) {
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
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})))
	pb.RegisterClusterServer(s, &fake{})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String(), sha256.Sum256(spki)
}

func TestTLS(t *testing.T) {
	addr, pin := tlsServer(t)
	for name, tc := range map[string]struct {
		pin  [32]byte
		want string
	}{
		"pinned":       {pin, ""},
		"other pin":    {[32]byte{1}, "expected 0100000000000000…: get a new join token from the founder; if its key was not replaced, the connection is intercepted"},
		"system roots": {[32]byte{}, "x509: "},
	} {
		cfg := config(addr)
		cfg.Insecure, cfg.Pin = false, tc.pin
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Delete(t.Context(), mesh.Affiliate{})
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}

// listen serves each connection with handle until the test ends.
func listen(t *testing.T, handle func(net.Conn) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if err := handle(c); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func connectProxy(c net.Conn) error {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return err
	}
	user, password, _ := (&http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}).BasicAuth()
	if req.Method != http.MethodConnect || req.Host != "discovery.example:443" || user != "u" || password != "hunter2" {
		_, err = fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return err
	}
	_, err = fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\nhello from behind")
	return err
}

func socksProxy(c net.Conn) error {
	b := make([]byte, 64)
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:b[1]]); err != nil { // methods
		return err
	}
	if _, err := c.Write([]byte{5, 0}); err != nil {
		return err
	}
	const host = "discovery.example"
	n := 4 + 1 + len(host) + 2
	if _, err := io.ReadFull(c, b[:n]); err != nil {
		return err
	}
	if got, port := string(b[5:n-2]), binary.BigEndian.Uint16(b[n-2:]); b[3] != 3 || got != host || port != 443 {
		return fmt.Errorf("SOCKS request for %q port %d", got, port)
	}
	_, err := c.Write(append([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "hello from behind"...))
	return err
}

func TestDialer(t *testing.T) {
	plain := listen(t, func(c net.Conn) error { _, err := fmt.Fprint(c, "hello directly"); return err })
	connect, socks := listen(t, connectProxy), listen(t, socksProxy)
	for name, tc := range map[string]struct {
		env, value, noProxy, addr, want string
	}{
		"direct":              {"", "", "", plain, "hello directly"},
		"loopback is direct":  {"HTTPS_PROXY", "http://u:hunter2@" + connect, "", plain, "hello directly"},
		"CONNECT":             {"HTTPS_PROXY", "http://u:hunter2@" + connect, "", "discovery.example:443", "hello from behind"},
		"lower case":          {"https_proxy", "http://u:hunter2@" + connect, "", "discovery.example:443", "hello from behind"},
		"refused by proxy":    {"HTTPS_PROXY", "http://u:hunter3@" + connect, "", "discovery.example:443", "403 Forbidden"},
		"SOCKS5":              {"HTTPS_PROXY", "socks5://" + socks, "", "discovery.example:443", "hello from behind"},
		"SOCKS5 for all":      {"ALL_PROXY", "socks5h://" + socks, "", "discovery.example:443", "hello from behind"},
		"excepted":            {"HTTPS_PROXY", "http://u:hunter2@" + connect, "192.0.2.0/24", "192.0.2.1:443", "socket refused"},
		"unknown scheme":      {"ALL_PROXY", "gopher://u:hunter2@" + connect, "", "discovery.example:443", `scheme "gopher" is not supported`},
		"proxy not listening": {"HTTPS_PROXY", "http://u:hunter2@127.0.0.1:1", "", "discovery.example:443", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, e := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"} {
				t.Setenv(e, "")
			}
			t.Setenv("NO_PROXY", tc.noProxy)
			if tc.env != "" {
				t.Setenv(tc.env, tc.value)
			}
			marked := false
			dial := newDialer(func(_, address string, _ syscall.RawConn) error {
				marked = true
				if strings.HasPrefix(address, "192.0.2.") { // would leave this host
					return errors.New("socket refused")
				}
				return nil
			}, time.Second)
			var got string
			conn, err := dial(t.Context(), tc.addr)
			if err == nil {
				b, _ := io.ReadAll(conn)
				got = string(b)
				_ = conn.Close()
			} else {
				got = err.Error()
			}
			if !strings.Contains(got, tc.want) || strings.Contains(got, "hunter") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if !marked && tc.env != "ALL_PROXY" {
				t.Error("the socket was not given to Control")
			}
		})
	}
}

func TestDialStopsWithContext(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://"+listen(t, func(c net.Conn) error {
		_, _ = io.Copy(io.Discard, c) // takes the request and says nothing
		return nil
	}))
	t.Setenv("NO_PROXY", "")
	ctx, cancel := context.WithCancel(t.Context())
	dial := newDialer(func(string, string, syscall.RawConn) error { cancel(); return nil }, time.Minute)
	if conn, err := dial(ctx, "discovery.example:443"); err == nil {
		_ = conn.Close()
		t.Error("connected through a proxy that does not answer")
	}
}

// The client reaches a server through both kinds of proxy, over TLS and in plaintext.
func TestThroughProxies(t *testing.T) {
	addr, pin := tlsServer(t)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterClusterServer(s, &fake{})
	go func() { _ = s.Serve(plain) }()
	t.Cleanup(s.Stop)
	for _, server := range []struct {
		addr string
		pin  [32]byte
	}{{addr, pin}, {plain.Addr().String(), [32]byte{}}} {
		tunnel := func(open func(net.Conn) error) string {
			return listen(t, func(c net.Conn) error {
				if err := open(silent{c}); err != nil {
					return err
				}
				to, err := net.Dial("tcp", server.addr)
				if err != nil {
					return err
				}
				go func() { _, _ = io.Copy(to, c); _ = to.Close() }()
				_, _ = io.Copy(c, to)
				return nil
			})
		}
		for _, via := range []string{"http://u:hunter2@" + tunnel(connectProxy), "socks5://" + tunnel(socksProxy)} {
			t.Setenv("HTTPS_PROXY", via)
			t.Setenv("NO_PROXY", "")
			cfg := config("discovery.example:443")
			cfg.Insecure, cfg.Pin = server.pin == [32]byte{}, server.pin
			c, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Delete(t.Context(), mesh.Affiliate{}); err != nil {
				t.Errorf("%s: %v", via, err)
			}
		}
	}
}

// silent leaves out the greeting of the scripted proxies.
type silent struct{ net.Conn }

func (c silent) Write(b []byte) (int, error) {
	_, err := c.Conn.Write(bytes.TrimSuffix(b, []byte("hello from behind")))
	return len(b), err
}
