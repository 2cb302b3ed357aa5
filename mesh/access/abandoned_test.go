//go:build !edge

package access

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh/config"
)

const (
	// churn is how many connections are opened and dropped.
	churn = 1000
	// residue is what each may leave: the stack's tables do not shrink. A connection itself
	// takes 7 KB.
	residue = 1000 // bytes
)

// Connections that are dropped leave nothing behind, and those that are abandoned leave it
// with the idle time-out: half of them have a far side that neither reads nor closes, and a
// client that has gone silent.
func TestAbandoned(t *testing.T) {
	var mu sync.Mutex
	var held []net.Conn // by programs that have forgotten them
	hold := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		held = append(held, c)
	}
	// A connection is abandoned by what its client says first.
	program := func(c net.Conn) {
		var first [1]byte
		_, _ = io.ReadFull(c, first[:])
		_, _ = c.Write(first[:])
		if first[0] == 'a' {
			hold(c)
			return
		}
		echo(c)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	n := newJoinedNode(t, config.Limits{Connections: churn, IdleTimeout: 2 * time.Second}, serve(t, l, err, program))
	l, err = n.peer.ListenTCP(netip.AddrPortFrom(node2, 7))
	serve(t, l, err, program)
	use := func(i int) error {
		dial := func() (net.Conn, error) { return n.throughProxy(7) }
		if i%2 == 0 {
			dial = func() (net.Conn, error) { return n.throughForward(t) }
		}
		c, err := dial()
		if err != nil {
			return err
		}
		if i%4 < 2 {
			hold(c)
			_, err = c.Write([]byte("a"))
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, 1))
			}
			if i%8 < 4 && err == nil {
				err = c.(interface{ CloseWrite() error }).CloseWrite()
			}
			return err
		}
		defer c.Close()
		got := make([]byte, 4)
		if _, err = c.Write([]byte("ping")); err == nil {
			_, err = io.ReadFull(c, got)
		}
		if err == nil && string(got) != "ping" {
			err = errors.New("received " + string(got))
		}
		return err
	}
	for i := range 8 { // what is made once
		if err := use(i); err != nil {
			t.Fatal(err)
		}
	}
	release := func() {
		await(t, "all connections have ended", func() bool { return n.open() == 0 })
		for _, c := range held {
			_ = c.Close()
		}
		held = nil
	}
	release()
	goroutines, heap := runtime.NumGoroutine(), heapSize()

	var clients sync.WaitGroup
	for w := range 32 {
		clients.Go(func() {
			for i := w; i < churn; i += 32 {
				if err := use(i); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	clients.Wait()
	release()
	await(t, "goroutines return", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	await(t, "memory returns", func() bool { return heapSize()-heap < churn*residue })
}

// open returns how many connections there are.
func (n *joinedNode) open() int {
	return int(n.proxyStats().Open) + n.forwards.Status()[0].Connections
}

func heapSize() int64 {
	runtime.GC()
	runtime.GC() // the second empties pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
