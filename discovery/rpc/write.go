package rpc

import (
	"errors"
	"os"
	"time"
)

const (
	// Requests wait for room in the buffer of the writer.
	outBuffer = 64 << 10

	// So much more there is for answers to pings and settings. A server that has them
	// answered and reads nothing loses the connection.
	maxAnswers = 64 << 10

	keptOut = 4 << 10 // of the writer's buffers when there is nothing to write
)

// flush has the writer write what is in c.out. c.mu is held.
func (c *Conn) flush() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// answer queues a frame that the server asked for. c.mu is held.
func (c *Conn) answer(b []byte) error {
	if len(c.out)+len(b) > outBuffer+maxAnswers {
		return &violation{enhanceYourCalm, 0, "pings or settings, and does not take the answers"}
	}
	c.out = append(c.out, b...)
	c.flush()
	return nil
}

// write writes frames until the connection ends.
func (c *Conn) write() {
	for range c.wake {
		c.mu.Lock()
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		c.broadcast()
		ended := c.err != nil
		c.mu.Unlock()
		if err := c.writeAll(b); err != nil {
			c.end(err)
			ended = true
		}
		if ended {
			_ = c.conn.Close()
			return
		}
		if cap(b) <= keptOut {
			c.mu.Lock()
			c.spare = b
			c.mu.Unlock()
		}
	}
}

// writeAll writes b, as long as the server takes some of it.
func (c *Conn) writeAll(b []byte) error {
	for len(b) > 0 {
		_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		n, err := c.conn.Write(b[:min(len(b), maxFrame)])
		b = b[n:]
		if errors.Is(err, os.ErrDeadlineExceeded) && n > 0 {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("the server takes no data")
		}
		if err != nil {
			return err
		}
	}
	return c.conn.SetWriteDeadline(time.Time{})
}
