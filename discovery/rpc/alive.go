package rpc

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"
)

// keepAlive pings a server that is silent.
type keepAlive struct {
	every time.Duration
	began time.Time
	heard atomic.Int64 // when the last frame came, after began
	timer *time.Timer  // nil: no pings
	sent  uint64       // pings
	waits bool         // for the answer to the last one
}

// keepAlive starts to ping a server that is silent for every. c.mu is held.
func (c *Conn) keepAlive(every time.Duration) {
	if every > 0 {
		c.alive.every, c.alive.began = every, time.Now()
		c.alive.timer = time.AfterFunc(every, c.checkAlive)
	}
}

// received notes that a frame has come.
func (k *keepAlive) received() {
	if k.every > 0 {
		k.heard.Store(int64(time.Since(k.began)))
	}
}

func (k *keepAlive) stop() {
	if k.timer != nil {
		k.timer.Stop()
	}
}

// checkAlive runs when the timer fires.
func (c *Conn) checkAlive() {
	c.mu.Lock()
	k := &c.alive
	dead := k.waits
	if silent := time.Since(k.began) - time.Duration(k.heard.Load()); c.err == nil && !dead {
		if silent < k.every {
			k.timer.Reset(k.every - silent)
		} else {
			k.sent++
			k.waits = true
			c.out = appendPing(c.out, 0, k.data())
			c.flush()
			k.timer.Reset(pingTimeout)
		}
	}
	c.mu.Unlock()
	if dead {
		c.end(errors.New("the server does not answer a ping"))
	}
}

// data returns what the last ping says.
func (k *keepAlive) data() (data [8]byte) {
	binary.BigEndian.PutUint64(data[:], k.sent)
	return data
}

// answered takes the answer to a ping. c.mu is held.
func (c *Conn) answered(data [8]byte) {
	if k := &c.alive; c.err == nil && k.waits && data == k.data() {
		k.waits = false
		k.timer.Reset(k.every)
	}
}
