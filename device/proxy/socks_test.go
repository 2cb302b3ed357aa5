package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	netproxy "golang.org/x/net/proxy"
)

// reply is a SOCKS reply that names no address.
func reply(code byte) string { return string([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}) }

// TestSOCKSTranscripts sends what clients send, at once and byte by byte, and compares each
// byte of the answer, and that the connection ends then.
func TestSOCKSTranscripts(t *testing.T) {
	long := strings.Repeat("a", 255)
	tests := []struct {
		name, user, password string
		err                  error // of the network
		sent, want           string
		dialled              string
	}{
		{name: "IPv4", sent: "\x05\x01\x00" + "\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50", dialled: "10.0.0.1:80", want: "\x05\x00"},
		{name: "IPv6", sent: "\x05\x01\x00" + "\x05\x01\x00\x04\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01\xbb", dialled: "[fd00::1]:443", want: "\x05\x00"},
		{name: "IPv4 in IPv6", sent: "\x05\x01\x00" + "\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x7f\x00\x00\x01\x01\xbb", dialled: "127.0.0.1:443", want: "\x05\x00"},
		{name: "name", sent: "\x05\x02\x01\x00" + "\x05\x01\x00\x03\x06n.mesh\x00\x50", dialled: "n.mesh:80", want: "\x05\x00"},
		{name: "IPv6 as a name", sent: "\x05\x01\x00" + "\x05\x01\x00\x03\x07fd00::1\x00\x50", dialled: "[fd00::1]:80", want: "\x05\x00"},
		{name: "longest name", sent: "\x05\x01\x00" + "\x05\x01\x00\x03\xff" + long + "\x00\x50", dialled: long + ":80", want: "\x05\x00"},
		{name: "empty name", sent: "\x05\x01\x00" + "\x05\x01\x00\x03\x00\x00\x50", want: "\x05\x00" + reply(1)},
		{name: "name with a line end", sent: "\x05\x01\x00" + "\x05\x01\x00\x03\x02a\n\x00\x50", want: "\x05\x00" + reply(1)},
		{name: "address type 2", sent: "\x05\x01\x00" + "\x05\x01\x00\x02\x0a\x00\x00\x01\x00\x50", want: "\x05\x00" + reply(8)},
		{name: "BIND", sent: "\x05\x01\x00" + "\x05\x02\x00\x01\x0a\x00\x00\x01\x00\x50", want: "\x05\x00" + reply(7)},
		{name: "command 9", sent: "\x05\x01\x00" + "\x05\x09\x00\x01\x0a\x00\x00\x01\x00\x50", want: "\x05\x00" + reply(7)},
		{name: "version 4 in a request", sent: "\x05\x01\x00" + "\x04\x01\x00\x01\x0a\x00\x00\x01\x00\x50", want: "\x05\x00" + reply(1)},
		{name: "SOCKS4", sent: "\x04\x01\x00\x50\x0a\x00\x00\x01user\x00", want: "\x00\x5b\x00\x00\x00\x00\x00\x00"},
		{name: "no method", sent: "\x05\x00", want: "\x05\xff"},
		{name: "GSSAPI alone", sent: "\x05\x01\x01", want: "\x05\xff"},

		{name: "password", user: "u", password: "secret", sent: "\x05\x02\x00\x02" + "\x01\x01u\x06secret" + "\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50", dialled: "10.0.0.1:80", want: "\x05\x02\x01\x00"},
		{name: "longest password", user: "u", password: long, sent: "\x05\x01\x02" + "\x01\x01u\xff" + long + "\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50", dialled: "10.0.0.1:80", want: "\x05\x02\x01\x00"},
		{name: "wrong password", user: "u", password: "secret", sent: "\x05\x01\x02" + "\x01\x01u\x06sEcret", want: "\x05\x02\x01\x01"},
		{name: "wrong user", user: "u", password: "secret", sent: "\x05\x01\x02" + "\x01\x01v\x06secret", want: "\x05\x02\x01\x01"},
		{name: "empty password", user: "u", password: "secret", sent: "\x05\x01\x02" + "\x01\x01u\x00", want: "\x05\x02\x01\x01"},
		{name: "password of version 5", user: "u", password: "secret", sent: "\x05\x01\x02" + "\x05\x01u\x06secret", want: "\x05\x02\x01\x01"},
		{name: "no password where one is needed", user: "u", password: "secret", sent: "\x05\x01\x00", want: "\x05\xff"},
		{name: "password where none is needed", sent: "\x05\x01\x02" + "\x01\x01u\x01p" + "\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50", dialled: "10.0.0.1:80", want: "\x05\x02\x01\x00"},

		{name: "not allowed", err: ErrNotAllowed, sent: "\x05\x01\x00" + "\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50", want: "\x05\x00" + reply(2)},
		{name: "UDP not allowed", err: ErrNotAllowed, sent: "\x05\x01\x00" + "\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", want: "\x05\x00" + reply(2)},
	}
	for _, tt := range tests {
		for _, chunk := range []int{1 << 16, 1} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, chunk), func(t *testing.T) {
				dialled := make(chan string, 1)
				network := failing(tt.err)
				if tt.err == nil {
					network.dial = func(_ context.Context, address string) (net.Conn, error) {
						dialled <- address
						near, far := net.Pipe()
						return near, far.Close()
					}
				}
				address, _ := startProxy(t, Config{Network: network, User: tt.user, Password: tt.password})
				c := connect(t, "tcp", address)
				for b := range slices.Chunk([]byte(tt.sent), chunk) {
					send(t, c, b)
				}
				want := tt.want
				if tt.dialled != "" {
					want += reply(0)
				}
				expect(t, c, []byte(want))
				expectEnd(t, c)
				if tt.dialled != "" && <-dialled != tt.dialled {
					t.Errorf("dialled another address than %s", tt.dialled)
				}
			})
		}
	}
}

func TestReplyForErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want byte
		http int
	}{
		{ErrNotAllowed, 2, 403},
		{syscall.EPERM, 2, 403},
		{ErrUnreachable, 3, 502},
		{syscall.ENETUNREACH, 3, 502},
		{ErrNoSuchHost, 4, 502},
		{syscall.EHOSTUNREACH, 4, 502},
		{&net.DNSError{IsNotFound: true}, 4, 502},
		{ErrRefused, 5, 502},
		{syscall.ECONNREFUSED, 5, 502},
		{syscall.ETIMEDOUT, 6, 504},
		{context.DeadlineExceeded, 6, 504},
		{os.ErrDeadlineExceeded, 6, 504},
		{&net.DNSError{IsTimeout: true}, 6, 504},
		{syscall.EAFNOSUPPORT, 8, 502},
		{io.ErrUnexpectedEOF, 1, 502},
	} {
		wrapped := fmt.Errorf("connect: %w", &net.OpError{Op: "dial", Err: tt.err})
		if got := replyOf[failureOf(wrapped)]; got != tt.want {
			t.Errorf("%v: reply %d, want %d", tt.err, got, tt.want)
		}
		if got := statusOf(wrapped); got != tt.http {
			t.Errorf("%v: status %d, want %d", tt.err, got, tt.http)
		}
	}
}

// socksConnect asks for CONNECT, and returns the address of the reply.
func socksConnect(t testing.TB, c net.Conn, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	send(t, c, append([]byte{5, 1, 0, 5, 1, 0}, appendTarget(nil, to)...))
	expect(t, c, []byte{5, 0, 5, 0, 0, 1})
	var bound [6]byte
	if _, err := io.ReadFull(c, bound[:]); err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(bound[:4])), binary.BigEndian.Uint16(bound[4:]))
}

func TestSOCKSClients(t *testing.T) {
	echo := startEcho(t)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			l := listen(t, network)
			s, stop := serveOn(t, Config{Network: fakeNetwork{}, User: "u", Password: "p"}, l)
			for _, address := range []string{echo.String(), fmt.Sprintf("echo.test:%d", echo.Port())} {
				d, err := netproxy.SOCKS5(network, l.Addr().String(), &netproxy.Auth{User: "u", Password: "p"}, nil)
				if err != nil {
					t.Fatal(err)
				}
				c, err := d.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				send(t, c, []byte("hello"))
				expect(t, c, []byte("hello"))
			}
			wrong, _ := netproxy.SOCKS5(network, l.Addr().String(), &netproxy.Auth{User: "u", Password: "q"}, nil)
			if _, err := wrong.Dial("tcp", echo.String()); err == nil {
				t.Error("a wrong password was taken")
			}
			stop()
			if st := s.Stats(); st.AuthFailures != 1 || st.Accepted != 3 || st.BytesUp != 10 || st.BytesDown != 10 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// The reply names the address that the connection has on the other side.
func TestSOCKSBoundAddress(t *testing.T) {
	l := listen(t, "tcp")
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	bound := socksConnect(t, connect(t, "tcp", address), l.Addr().(*net.TCPAddr).AddrPort())
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if got := far.RemoteAddr().String(); got != bound.String() {
		t.Errorf("the reply says %s, the server sees %s", bound, got)
	}
}

// What a client sends right behind its request, and the end that follows, reach the server.
func TestSOCKSEarlyDataAndHalfClose(t *testing.T) {
	echo := startEcho(t)
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	c := connect(t, "tcp", address)
	data := bytes.Repeat([]byte("early"), 10_000)
	go func() {
		_, _ = c.Write(append(append([]byte{5, 1, 0, 5, 1, 0}, appendTarget(nil, echo)...), data...))
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	expect(t, c, []byte{5, 0, 5, 0, 0, 1})
	_, _ = io.CopyN(io.Discard, c, 6)
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Errorf("received %d bytes of %d, %v", len(got), len(data), err)
	}
}

func TestSOCKSReset(t *testing.T) {
	l := listen(t, "tcp")
	address, _ := startProxy(t, Config{Network: fakeNetwork{}})
	c := connect(t, "tcp", address)
	socksConnect(t, c, l.Addr().(*net.TCPAddr).AddrPort())
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = far.(*net.TCPConn).SetLinger(0)
	_ = far.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a reset arrived as %v", err)
	}
}

func TestDialEndsWithItsClient(t *testing.T) {
	ended := make(chan error)
	dialling := make(chan struct{})
	network := fakeNetwork{dial: func(ctx context.Context, _ string) (net.Conn, error) {
		dialling <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	address, _ := startProxy(t, Config{Network: network})
	for _, request := range []string{
		"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50",
		"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n",
		"GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
	} {
		c := connect(t, "tcp", address)
		send(t, c, []byte(request))
		<-dialling
		_ = c.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%q: the dial ended with %v", request, err)
		}
	}
}

func TestNoConnectionToTheProxy(t *testing.T) {
	dialled := fakeNetwork{dial: func(_ context.Context, address string) (net.Conn, error) {
		t.Errorf("dialled %s", address)
		return nil, ErrRefused
	}}
	l := listen(t, "tcp")
	serveOn(t, Config{Network: dialled}, l)
	port := l.Addr().(*net.TCPAddr).Port
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "localhost", "LOCALHOST.", "a.localhost"} {
		to := net.JoinHostPort(host, fmt.Sprint(port))
		c := connect(t, "tcp", l.Addr().String())
		request := append([]byte{5, 1, 0, 5, 1, 0, addressName, byte(len(host))}, host...)
		send(t, c, binary.BigEndian.AppendUint16(request, uint16(port)))
		expect(t, c, []byte("\x05\x00"+reply(2)))

		for _, line := range []string{"CONNECT " + to, "GET http://" + to + "/"} {
			c := connect(t, "tcp", l.Addr().String())
			send(t, c, []byte(line+" HTTP/1.1\r\nHost: a\r\n\r\n"))
			expect(t, c, []byte("HTTP/1.1 403 Forbidden\r\n"))
		}
	}
}

// FuzzSOCKS reads greetings and requests. What is read again after it was written is the same.
func FuzzSOCKS(f *testing.F) {
	f.Add([]byte("\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50"))
	f.Add([]byte("\x02\x00\x02\x01\x01u\x06secret\x05\x01\x00\x03\x06n.mesh\x00\x50"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if _, err := readMethods(r); err != nil {
			return
		}
		_, _, _ = readPassword(bytes.NewReader(b))
		before := r.Len()
		request, err := readRequest(r)
		if read := before - r.Len(); read > 262 {
			t.Fatalf("a request of %d bytes", read)
		}
		if err != nil {
			return
		}
		if !isHost(request.target.host) {
			t.Fatalf("host %q", request.target.host)
		}
		if ip, err := netip.ParseAddr(request.target.host); err == nil {
			again, rest, err := cutTarget(appendTarget(nil, netip.AddrPortFrom(ip, request.target.port)))
			if err != nil || len(rest) > 0 || again.String() != request.target.String() && ip.Zone() == "" {
				t.Fatalf("%v became %v, %v", request.target, again, err)
			}
		}
	})
}
