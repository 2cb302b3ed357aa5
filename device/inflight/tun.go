package inflight

import (
	"time"

	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/mesh"
)

// TUN is the gate's side at the data plane. See [Between].
type TUN struct {
	tun.Device
	gate  *gate
	room  mesh.Signal // Read's waiter in the outbound window
	timer *time.Timer
	codel codel
}

// Read waits for room in the window, and reads a batch. Of a stalled flow it
// admits few packets, and of a standing queue it marks or drops one at a time: a
// dropped packet has size 0.
//
// The data plane fills a batch as long as there are packets and room for the next
// super-packet. So a batch with clearly more in it than one super-packet means
// that a queue stands. Packets of stalled flows do not count for that: they are no
// reason to slow down the others.
func (t *TUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	t.gate.out.wait(t.room, t.timer)
	n, err := t.Device.Read(bufs, sizes, offset)
	now := time.Now()
	packets, total := t.gate.admitOutbound(bufs, sizes[:n], offset, now)
	if t.codel.congested(packets, total > standingBytes, now) {
		last := n - 1
		for sizes[last] == 0 {
			last--
		}
		if !markCE(bufs[last][offset : offset+sizes[last]]) {
			sizes[last] = 0
		}
	}
	return n, err
}

// Write writes decrypted packets, and acknowledges them.
func (t *TUN) Write(bufs [][]byte, offset int) (int, error) {
	newest := t.gate.newestTags(bufs, offset)
	n, err := t.Device.Write(bufs, offset)
	t.gate.ackInbound(newest)
	return n, err
}
