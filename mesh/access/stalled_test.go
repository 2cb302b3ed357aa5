//go:build !edge

package access

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh/config"
)

// Programs that read nothing, one on each side, stop their own connections alone: 100 others
// transfer everything.
func TestStalledReader(t *testing.T) {
	const others, size = 100, 256 << 10
	hold := make(chan struct{})
	program := func(c net.Conn) {
		var first [1]byte
		_, _ = io.ReadFull(c, first[:])
		if first[0] == 's' { // it reads nothing more
			<-hold
			_ = c.Close()
			return
		}
		echo(c)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	n := newJoinedNode(t, config.Limits{Connections: 2 * others}, serve(t, l, err, program))
	l, err = n.peer.ListenTCP(netip.AddrPortFrom(node2, 7))
	serve(t, l, err, program)
	t.Cleanup(func() { close(hold) })
	dial := func(i int) (net.Conn, error) {
		if i%2 == 0 {
			return n.throughForward(t)
		}
		return n.throughProxy(7)
	}
	for i := range 2 {
		c, err := dial(i)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fill(t, c)
	}
	var transfers sync.WaitGroup
	for i := range others {
		transfers.Go(func() {
			c, err := dial(i)
			if err == nil {
				err = transfer(c, i, size)
			}
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	transfers.Wait()
	if open := n.open(); open < 2 {
		t.Errorf("%d connections are open, want those that stalled", open)
	}
}

// fill writes until nothing more is taken.
func fill(t *testing.T, c net.Conn) {
	t.Helper()
	block := make([]byte, 1<<20)
	block[0] = 's'
	total := 0
	for {
		_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := c.Write(block)
		total += n
		if errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
			break
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) || total > 256<<20 {
			t.Fatalf("%d bytes were taken: %v", total, err)
		}
	}
	t.Logf("%d KiB were taken before it stalled", total>>10)
}

// transfer sends random bytes to an echo, expects them back, and closes.
func transfer(c net.Conn, seed, size int) error {
	defer c.Close()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte{byte(seed)})).Read(data)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(append([]byte("e"), data...))
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return errors.Join(err, c.Close(), <-sent)
	}
	if string(got) != string(data) {
		return fmt.Errorf("%d bytes came back, of %d, or others", len(got), size)
	}
	return <-sent
}
