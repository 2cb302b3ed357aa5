package device_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh"
)

func mustPing(t testing.TB, from *node, to netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	rtt, err := from.Ping(ctx, to, 56)
	if err != nil {
		t.Fatal(err)
	}
	if rtt <= 0 {
		t.Errorf("round trip time = %v", rtt)
	}
}

func TestPing(t *testing.T) {
	v4a, v4b := netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
	a, b := newNode(t, 1, v4a), newNode(t, 2, v4b)
	toA, toB := a.peer(), b.peer()
	toA.AllowedIPs = append(toA.AllowedIPs, host(v4a))
	toB.AllowedIPs = append(toB.AllowedIPs, host(v4b))
	toA.Endpoint = netip.AddrPort{} // crossed initiations would cost 5 s
	b.apply(t, toA)
	a.apply(t, toB)
	mustPing(t, a, b.addr)
	mustPing(t, b, a.addr)
	mustPing(t, a, v4b)
	mustPing(t, b, v4a)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Ping(cancelled, ula(99), 56); !errors.Is(err, context.Canceled) {
		t.Errorf("ping of an address that no peer has: %v", err)
	}
	if _, err := a.Ping(t.Context(), a.addr, 56); err == nil {
		t.Error("ping of itself succeeded")
	}
	if _, err := a.Ping(t.Context(), netip.Addr{}, 56); err == nil {
		t.Error("ping of no address succeeded")
	}
}

func TestPingEndsWithTheDevice(t *testing.T) {
	a := newNode(t, 1)
	result := make(chan error)
	go func() {
		_, err := a.Ping(context.Background(), ula(99), 56)
		result <- err
	}()
	_ = a.Close()
	if err := <-result; err == nil {
		t.Error("ping outlived the device with success")
	}
	if err := a.Err(); err != nil {
		t.Errorf("Err after Close = %v", err)
	}
}

func TestHTTPBothWays(t *testing.T) {
	a, b := pair(t)
	body := make([]byte, 10<<20)
	_, _ = rand.Read(body)
	want := sha256.Sum256(body)
	for _, dir := range []struct {
		name     string
		from, to *node
	}{{"a from b", a, b}, {"b from a", b, a}} {
		t.Run(dir.name, func(t *testing.T) {
			l, err := dir.to.net.ListenTCP(netip.AddrPortFrom(dir.to.addr, 80))
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sum := sha256.New()
				_, _ = io.Copy(sum, r.Body)
				w.Header().Set("Sum", string(hexOf(sum.Sum(nil))))
				_, _ = w.Write(body)
			})}
			go func() { _ = server.Serve(l) }()
			defer server.Close()
			transport := &http.Transport{DialContext: dir.from.net.DialContext}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: wait}
			resp, err := client.Post("http://"+net.JoinHostPort(dir.to.addr.String(), "80"), "", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			sum := sha256.New()
			if _, err := io.Copy(sum, resp.Body); err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Get("Sum"); got != string(hexOf(want[:])) {
				t.Errorf("uploaded sum = %s", got)
			}
			if !bytes.Equal(sum.Sum(nil), want[:]) {
				t.Error("downloaded sum differs")
			}
		})
	}
}

func hexOf(b []byte) []byte {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return out
}

func TestEventsReportHandshakes(t *testing.T) {
	a, b := pair(t)
	for _, n := range []*node{a, b} { // the responder completes the handshake with the first data packet
		other := a
		if n == a {
			other = b
		}
		for {
			<-n.Events()
			s, ok := n.stats(t, other.key.Public())
			if !ok {
				t.Fatal("peer is missing")
			}
			if !s.LastHandshakeTime.IsZero() {
				break
			}
		}
	}
}

func TestOpenErrors(t *testing.T) {
	taken := newNode(t, 1)
	stack, err := netstack.New(netstack.Config{MTU: mesh.DefaultMTU})
	if err != nil {
		t.Fatal(err)
	}
	_, err = device.Open(device.Config{
		TUN: stack, Bind: bind.New(nil), PrivateKey: newKey(), ListenPort: taken.ListenPort(),
	})
	if err == nil || !strings.Contains(err.Error(), "listenPort") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("taken port: %v", err)
	}
	if _, err := device.Open(device.Config{}); err == nil {
		t.Error("an empty config opened")
	}
}

func TestSetListenPort(t *testing.T) {
	a, b := pair(t)
	mustPing(t, a, b.addr)
	old := a.ListenPort()
	free, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	next := uint16(free.LocalAddr().(*net.UDPAddr).Port)
	if err := a.SetListenPort(next); err == nil || !strings.Contains(err.Error(), "listenPort") {
		t.Fatalf("taken port: %v", err)
	}
	if got := a.ListenPort(); got != old {
		t.Fatalf("port after a refused change = %d, want %d", got, old)
	}
	mustPing(t, a, b.addr)
	_ = free.Close()
	if err := a.SetListenPort(next); err != nil {
		t.Fatal(err)
	}
	if err := a.SetListenPort(0); err != nil {
		t.Fatal(err)
	}
	if got := a.ListenPort(); got != next {
		t.Errorf("port = %d, want %d", got, next)
	}
	mustPing(t, a, b.addr)
	mustPing(t, b, a.addr) // by the endpoint it roamed to
}

func TestSetPrivateKey(t *testing.T) {
	a, b := pair(t)
	mustPing(t, a, b.addr)
	a.key = newKey()
	if err := a.SetPrivateKey(a.key); err != nil {
		t.Fatal(err)
	}
	toA := a.peer()
	toA.Endpoint = netip.AddrPort{} // crossed initiations would cost 5 s
	b.apply(t, toA)
	mustPing(t, a, b.addr)
	if err := a.SetPrivateKey(mesh.PrivateKey{}); err == nil {
		t.Error("an empty key was taken")
	}
}

func TestGarbageFlood(t *testing.T) {
	a, b := pair(t)
	mustPing(t, a, b.addr)
	c, err := net.Dial("udp4", b.endpoint().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 1500)
	sizes := []int{0, 1, 31, 32, 64, 92, 148, 1500}
	for i := range 10_000 {
		p := buf[:sizes[i%len(sizes)]]
		_, _ = rand.Read(p)
		if len(p) > 4 && i%2 == 0 { // a known type, then noise
			copy(p, []byte{byte(1 + i/2%4), 0, 0, 0})
		}
		if _, err := c.Write(p); err != nil && !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(err)
		}
	}
	mustPing(t, a, b.addr)
	mustPing(t, b, a.addr)
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	var out logBuffer
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &out})
	stack, err := netstack.New(netstack.Config{Addresses: []netip.Addr{ula(1)}, MTU: mesh.DefaultMTU})
	if err != nil {
		t.Fatal(err)
	}
	key, psk := newKey(), newKey()
	d, err := device.Open(device.Config{TUN: stack, Bind: bind.New(log), PrivateKey: key, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply([]mesh.PeerConfig{{PublicKey: newKey().Public(), PresharedKey: psk.Secret}}); err != nil {
		t.Error(err)
	}
	_ = d.Close()
	text := out.String()
	if !strings.Contains(text, "UAPI") {
		t.Error("nothing was logged at all")
	}
	for _, secret := range []mesh.Secret{key.Secret, psk.Secret} {
		raw := secret.Reveal()
		if strings.Contains(text, string(hexOf(raw[:]))) || strings.Contains(text, secret.RevealBase64()) {
			t.Error("a secret was logged")
		}
	}
}

// logBuffer may be written to concurrently, since upstream's workers end after
// Close.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
