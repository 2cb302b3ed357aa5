package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"
)

func TestConfigErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"long cluster", Config{OnlyCluster: strings.Repeat("x", 257)}, "cluster ID is too long"},
		{"redirect without port", Config{Redirect: "host"}, "redirect endpoint: address host: missing port"},
		{"negative interval", Config{GCInterval: -1}, "intervals can't be negative"},
		{"snapshot of a foreign store", Config{Store: brokenStore{}, SnapshotPath: "x"}, "exclude each other"},
	} {
		if _, err := New(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestServeOnce(t *testing.T) {
	srv, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := srv.Serve(ctx, bufconn.Listen(1)); err != nil {
		t.Errorf("Serve with a cancelled context: %v", err)
	}
	lis := bufconn.Listen(1)
	if err := srv.Serve(ctx, lis); err == nil {
		t.Error("served twice")
	}
	if _, err := lis.Dial(); err == nil {
		t.Error("the listener is still open")
	}
}

type failingListener struct{ net.Listener }

func (failingListener) Accept() (net.Conn, error) { return nil, errors.New("no more") }

func TestServeReturnsTheListenersError(t *testing.T) {
	srv, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	err = srv.Serve(context.Background(), failingListener{bufconn.Listen(1)})
	if err == nil || err.Error() != "no more" {
		t.Errorf("Serve: %v", err)
	}
}

func TestSilentConnectionDoesNotHoldUpStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, lis, stop := startInMemory(t, Config{})
		silent, err := lis.Dial()
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begin := time.Now()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if took := time.Since(begin); took > stopTimeout {
			t.Errorf("stopping took %v", took)
		}
		silent.Close()
	})
}

// A client sees an affiliate, and its deletion some time after its TTL.
func TestExpiryLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, lis, stop := startInMemory(t, Config{})
		client, conn := dialInMemory(t, lis.DialContext)
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := client.Watch(ctx, &pb.WatchRequest{ClusterId: "c"})
		if err != nil {
			t.Fatal(err)
		}
		recv(t, stream)
		req := update("c", "a")
		if _, err := client.AffiliateUpdate(ctx, req); err != nil {
			t.Fatal(err)
		}
		recv(t, stream)
		begin := time.Now()
		if msg := recv(t, stream); !msg.GetDeleted() || msg.GetAffiliates()[0].GetId() != "a" {
			t.Errorf("got %v, want the deletion", msg)
		}
		if took := time.Since(begin); took < minute || took > 2*minute {
			t.Errorf("expired after %v, its TTL is one minute and so is the interval", took)
		}
		cancel()
		conn.Close()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// cuttable is a connection whose outgoing half can be cut without the other end
// noticing it.
type cuttable struct {
	net.Conn
	cut atomic.Bool
}

func (c *cuttable) Write(b []byte) (int, error) {
	if c.cut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func TestVanishedWatcherIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, lis, stop := startInMemory(t, Config{})
		raw, err := lis.Dial()
		if err != nil {
			t.Fatal(err)
		}
		line := &cuttable{Conn: raw}
		client, conn := dialInMemory(t, func(context.Context) (net.Conn, error) { return line, nil })
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := client.Watch(ctx, &pb.WatchRequest{ClusterId: "c"})
		if err != nil {
			t.Fatal(err)
		}
		recv(t, stream)
		time.Sleep(time.Hour) // the client is silent, but alive
		if n := srv.memory.counts().watchers; n != 1 {
			t.Errorf("%d watchers, want 1", n)
		}
		line.cut.Store(true)
		time.Sleep(2*keepaliveTime + keepaliveTimeout)
		if n := srv.memory.counts().watchers; n != 0 {
			t.Errorf("%d watchers after the client has vanished", n)
		}
		cancel()
		conn.Close()
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestPinnedTLS(t *testing.T) {
	cert, pin, err := MemoryCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	seen := make(chan [32]byte, 1)
	client := dial(t, r.addr, credentials.NewTLS(&tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			seen <- pinOf(cs.PeerCertificates[0])
			return nil
		},
	}))
	if _, err := client.Hello(t.Context(), &pb.HelloRequest{ClusterId: "c"}); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != pin {
		t.Errorf("pin %x, want %x", got, pin)
	}

	roots := x509.NewCertPool() // clients may trust the certificate as a root instead
	roots.AddCert(cert.Leaf)
	client = dial(t, r.addr, credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "wirespan-discovery"}))
	if _, err := client.Hello(t.Context(), &pb.HelloRequest{ClusterId: "c"}); err != nil {
		t.Errorf("verified by roots: %v", err)
	}
}

func TestGarbage(t *testing.T) {
	cert, _, err := MemoryCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"cleartext": {},
		"TLS":       {TLS: &tls.Config{Certificates: []tls.Certificate{cert}}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.SnapshotPath = filepath.Join(t.TempDir(), "state")
			r := start(t, cfg)
			rnd := rand.New(rand.NewPCG(1, 2))
			for i := range 300 { // within the burst of bytes
				sendGarbage(t, r.addr, rnd, i)
			}
			if _, err := r.client.AffiliateUpdate(t.Context(), update("c", "a")); err != nil {
				t.Errorf("an ordinary client afterwards: %v", err)
			}
			if got := r.memory.counts(); got != (counts{clusters: 1, affiliates: 1}) {
				t.Errorf("state afterwards: %+v", got)
			}
		})
	}
}

// sendGarbage sends random bytes, some of them after a valid beginning. It has another
// address than the ordinary client.
func sendGarbage(t *testing.T, addr string, rnd *rand.Rand, i int) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	blob := make([]byte, rnd.IntN(2048))
	for j := range blob {
		blob[j] = byte(rnd.Uint32())
	}
	prefix := []string{
		"",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x10\x01\x04\x00\x00\x00\x01",
		"\x16\x03\x01\x00\xf0\x01\x00\x00\xec\x03\x03",
	}[i%6]
	// The server may close the connection before all is sent.
	_, _ = conn.Write(append([]byte(prefix), blob...))
}

// A cluster id is a credential: the log shows a whole one at no level.
func TestLogsShortenClusterIDs(t *testing.T) {
	for _, only := range []string{"", "cluster-id-of-ours"} {
		var log bytes.Buffer
		r := start(t, Config{
			OnlyCluster:  only,
			SnapshotPath: filepath.Join(t.TempDir(), "state"),
			Log:          hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &log}),
		})
		ctx := t.Context()
		for _, cluster := range []string{"cluster-id-of-ours", "cluster-\n\x1b[1mid-of-others"} {
			_, _ = r.client.Hello(ctx, &pb.HelloRequest{ClusterId: cluster})
			_, _ = r.client.AffiliateUpdate(ctx, update(cluster, "affiliate-id"))
			_, _ = r.client.AffiliateUpdate(ctx, update(cluster, ""))
			_, _ = r.client.List(ctx, &pb.ListRequest{ClusterId: cluster})
			_, _ = r.client.AffiliateDelete(ctx, &pb.AffiliateDeleteRequest{ClusterId: cluster, AffiliateId: "affiliate-id"})
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		text := log.String()
		for _, want := range []string{
			"discovery server started", "affiliate joined: cluster=cluster- affiliate=affiliat",
			"affiliate left", "affiliate ID can't be empty", "discovery server stopped",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in:\n%s", want, text)
			}
		}
		for _, secret := range []string{"id-of", "\x1b"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q in:\n%s", secret, text)
			}
		}
	}
}
