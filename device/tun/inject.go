package tun

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// maxInjected bounds the packets that wait for the next Read.
const maxInjected = 64

// injection holds the injected packets that wait for the next Read.
type injection struct {
	injectMu sync.Mutex // guards injected, and the read deadline with it
	injected [][]byte
	waiting  atomic.Int32 // len(injected)
}

// Inject sends a packet into the tunnel as if the kernel had sent it. It copies the
// packet.
func (t *TUN) Inject(packet []byte) error {
	t.injectMu.Lock()
	defer t.injectMu.Unlock()
	if len(t.injected) == maxInjected {
		return fmt.Errorf("inject packet into %s: %w", t.name, unix.ENOBUFS)
	}
	// A deadline in the past ends a Read that waits for the kernel. It stays until
	// the packets are taken, so no Read can miss it.
	if err := t.file.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return fmt.Errorf("inject packet into %s: %w", t.name, err)
	}
	t.injected = append(t.injected, append([]byte(nil), packet...))
	t.waiting.Store(int32(len(t.injected)))
	return nil
}

// takeInjected moves injected packets to bufs and returns how many. A packet larger
// than its buffer has size 0.
func (t *TUN) takeInjected(bufs [][]byte, sizes []int, offset int) int {
	t.injectMu.Lock()
	defer t.injectMu.Unlock()
	n := min(len(bufs), len(t.injected))
	for i, packet := range t.injected[:n] {
		sizes[i] = 0
		if len(packet) > len(bufs[i])-offset {
			continue
		}
		sizes[i] = copy(bufs[i][offset:], packet)
	}
	t.injected = append(t.injected[:0], t.injected[n:]...)
	t.waiting.Store(int32(len(t.injected)))
	if len(t.injected) == 0 {
		_ = t.file.SetReadDeadline(time.Time{}) // fails only when closed, as will the next read
	}
	return n
}
