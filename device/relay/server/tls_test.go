package server

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/device/relay"
)

// One listener takes TLS and plain TURN.
func TestTLSOrNot(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, Limits{AllocationsPerMember: 8})
		inner := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		outer := r.tcp
		either := NewListener(inner, &tls.Config{Certificates: []tls.Certificate{cert}})
		go func() {
			for {
				conn, err := either.Accept()
				if err != nil {
					return
				}
				outer.conns <- conn
			}
		}()
		defer inner.Close()
		r.mu.Lock()
		r.tcp = inner
		r.mu.Unlock()
		peer := r.listen(t, peerHost+":51820")
		for name, dial := range map[string]func(context.Context) (net.Conn, error){
			"plain": r.dialTCP,
			"TLS": func(ctx context.Context) (net.Conn, error) {
				conn, err := r.dialTCP(ctx)
				if err != nil {
					return nil, err
				}
				return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{relay.ALPN}}), nil
			},
		} {
			c := startClient(t, relay.Config{
				Dial: dial, Stream: true, Credentials: func(time.Time) relay.Credentials { return key.Credentials(nodeID, time.Now()) },
			})
			relayed := c.ready(t, peer)
			if _, err := peer.WriteToUDPAddrPort([]byte(name), relayed); err != nil {
				t.Fatal(err)
			}
			if d := receive(t, c.in); string(d.b) != name {
				t.Errorf("%s: %q came", name, d.b)
			}
			c.stop()
		}
	})
}
