package device_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/unixsocket"
)

var (
	oneSecret = mesh.NewSecret([mesh.KeySize]byte{1})
	oneHex    = "01" + strings.Repeat("0", 62)
	zeroHex   = strings.Repeat("0", 64)
)

// serve starts the configuration socket of d and returns its path.
func serve(t testing.TB, d *device.Device) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wireguard", "wg.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.ServeUAPI(ctx, path) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
			return path
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-t.Context().Done():
			t.Fatal("the socket did not come up")
		default:
		}
	}
}

// uapi makes one request over a socket of its own and returns the reply.
func uapi(t testing.TB, d *device.Device, request string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wg.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.ServeUAPI(ctx, path) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var c net.Conn
	for c == nil {
		c, _ = net.Dial("unix", path)
	}
	defer c.Close()
	return exchange(t, c, request)
}

// exchange writes a request and reads up to the empty line that ends a reply.
func exchange(t testing.TB, c net.Conn, request string) string {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	var reply strings.Builder
	for in := bufio.NewReader(c); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("reply %q: %v", reply.String(), err)
		}
		if line == "\n" {
			return reply.String()
		}
		reply.WriteString(line)
	}
}

// peer is a peer as wg(8) shows it.
type peer struct{ endpoint, keepalive, presharedKey, allowedIPs string }

// dump reads the device's peers through its configuration socket.
func dump(t testing.TB, d *device.Device) map[mesh.Key]peer {
	t.Helper()
	peers := make(map[mesh.Key]peer)
	var key mesh.Key
	var p peer
	var allowed []string
	flush := func() {
		if !key.IsZero() {
			slices.Sort(allowed)
			p.allowedIPs = strings.Join(allowed, " ")
			peers[key] = p
		}
	}
	for line := range strings.Lines(uapi(t, d, "get=1\n\n")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "public_key":
			flush()
			p, allowed = peer{}, nil
			copy(key[:], unhex(value))
		case "endpoint":
			p.endpoint = value
		case "persistent_keepalive_interval":
			p.keepalive = value
		case "preshared_key":
			p.presharedKey = value
		case "allowed_ip":
			allowed = append(allowed, value)
		}
	}
	flush()
	return peers
}

func equal(a, b map[mesh.Key]peer) bool { return maps.Equal(a, b) }

func unhex(s string) []byte {
	out := make([]byte, 0, len(s)/2)
	for i := 0; i+1 < len(s); i += 2 {
		out = append(out, byte(strings.IndexByte("0123456789abcdef", s[i])<<4|strings.IndexByte("0123456789abcdef", s[i+1])))
	}
	return out
}

func TestUAPI(t *testing.T) {
	a := newNode(t, 1)
	path := serve(t, a.Device)
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v", st.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o755 {
		t.Errorf("directory mode %v, %v", dir.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tc := range []struct{ request, want string }{
		{"set=1\npublic_key=" + oneHex + "\nallowed_ip=10.0.0.0/8\n\n", "errno=0\n"},
		{"set=1\npublic_key=short\n\n", "errno=-22\n"},
		{"set=1\nnonsense\n\n", "errno=-71\n"},
		{"set=1\n\n", "errno=0\n"},
	} {
		if got := exchange(t, c, tc.request); got != tc.want {
			t.Errorf("%q: reply %q, want %q", tc.request, got, tc.want)
		}
	}
	got := exchange(t, c, "get=1\n\n")
	for _, want := range []string{"private_key=", "listen_port=", "public_key=" + oneHex, "allowed_ip=10.0.0.0/8\n", "errno=0\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("reply lacks %q", want)
		}
	}
}

func TestUAPISocketInUse(t *testing.T) {
	a, b := newNode(t, 1), newNode(t, 2)
	path := serve(t, a.Device)
	if err := b.ServeUAPI(t.Context(), path); !errors.Is(err, unixsocket.ErrInUse) {
		t.Errorf("second server: %v", err)
	}
}

func TestUAPIStaleSocketAndForeignFile(t *testing.T) {
	a := newNode(t, 1)
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.ServeUAPI(ended, stale); err != nil {
		t.Errorf("stale socket: %v", err)
	}
	if _, err := os.Lstat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.ServeUAPI(t.Context(), file); err == nil {
		t.Error("served in place of a file")
	}
	if b, err := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("file now %q, %v", b, err)
	}
}

func TestUAPISurvivesGarbage(t *testing.T) {
	a := newNode(t, 1)
	path := serve(t, a.Device)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	words := []string{
		"set=1\n", "get=1\n", "\n", "public_key=" + oneHex + "\n", "allowed_ip=", "/33\n",
		"endpoint=", "remove=true\n", "replace_peers=true\n", "listen_port=999999\n", "=", "preshared_key=zz\n",
	}
	for range 1000 {
		var b bytes.Buffer
		for range random.IntN(8) {
			if random.IntN(3) == 0 {
				for range random.IntN(200) {
					b.WriteByte(byte(random.Uint32()))
				}
			}
			b.WriteString(words[random.IntN(len(words))])
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(b.Bytes()) // the server may hang up first
		_ = c.Close()
	}
	if got := uapi(t, a.Device, "set=1\n\n"); got != "errno=0\n" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestUAPIEndsWithTheDevice(t *testing.T) {
	a := newNode(t, 1)
	path := filepath.Join(t.TempDir(), "wg.sock")
	done := make(chan error)
	go func() { done <- a.ServeUAPI(context.Background(), path) }()
	var c net.Conn
	for c == nil {
		c, _ = net.Dial("unix", path)
	}
	defer c.Close()
	_ = exchange(t, c, "get=1\n\n")
	_ = a.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
