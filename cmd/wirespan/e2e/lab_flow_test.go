package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// stallLimit is how long a stream that is not complete may make no progress.
const stallLimit = 30 * time.Second

// flow is a conversation over a connection: one stream of reproducible bytes in each
// direction. Both ends compute the bytes from the numbers in flow. The dialling end
// sends these numbers first.
type flow struct {
	Seed    uint64
	Lengths [2]uint64 // in bytes, of the streams of the dialling and the accepting end
	Rate    uint64    // bytes per second in each direction; 0: no limit
}

// Ends of a flow.
const (
	dialing   = 0
	accepting = 1
)

// Uses of a flow's random source.
const (
	useContent = 2 * iota // one source for each end
	useShape
)

// source returns a random source, which is the same at both ends for the same use.
func (f flow) source(use int) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], f.Seed)
	key[8] = byte(use)
	return rand.NewChaCha8(key)
}

// pieces returns a function with the size of the next write: small writes, which cost
// most per byte, for the first 64 KiB, and then writes of any size.
func (f flow) pieces(end int) func(sent int) int {
	shape := rand.New(f.source(end + useShape))
	small := shape.IntN(2) == 0
	return func(sent int) int {
		switch {
		case small && sent < 64<<10:
			return 1 + shape.IntN(200)
		case shape.IntN(2) == 0:
			return 1300 + shape.IntN(160) // about the size of a packet
		}
		return 1 + shape.IntN(64<<10)
	}
}

// send writes the stream of one end.
func (f flow) send(conn net.Conn, end int) error {
	content, piece, pace := f.source(end+useContent), f.pieces(end), newPace(f.Rate)
	buf := make([]byte, 64<<10)
	length := int(f.Lengths[end])
	for sent := 0; sent < length; {
		b := buf[:min(length-sent, piece(sent))]
		_, _ = content.Read(b) // does not fail
		if err := conn.SetWriteDeadline(time.Now().Add(stallLimit)); err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return fmt.Errorf("sending at byte %d of %d: %w", sent, length, err)
		}
		sent += len(b)
		pace.spend(len(b))
	}
	return nil
}

// receive reads the stream of one end and compares it.
func (f flow) receive(conn net.Conn, end int) error {
	content := f.source(end + useContent)
	buf, want := make([]byte, 64<<10), make([]byte, 64<<10)
	length := int(f.Lengths[end])
	for got := 0; ; {
		if err := conn.SetReadDeadline(time.Now().Add(stallLimit)); err != nil {
			return err
		}
		n, err := conn.Read(buf)
		_, _ = content.Read(want[:n]) // does not fail
		if !bytes.Equal(buf[:n], want[:n]) {
			return fmt.Errorf("corrupt between bytes %d and %d of %d", got, got+n, length)
		}
		got += n
		switch {
		case got > length, errors.Is(err, io.EOF) && got < length:
			return fmt.Errorf("%d bytes arrived of %d", got, length)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("receiving at byte %d of %d: %w", got, length, err)
		}
	}
}

// converse sends and receives at once, and closes the connection. The accepting end
// closes last, when everything has arrived, and the dialling end waits for that.
func (f flow) converse(conn net.Conn, own, other int) error {
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		err := f.send(conn, own)
		if err == nil && own == dialing {
			err = conn.(interface{ CloseWrite() error }).CloseWrite()
		}
		sent <- err
	}()
	err := f.receive(conn, other)
	if err != nil {
		_ = conn.Close() // the other end would only wait
	}
	return errors.Join(err, <-sent)
}

// start is the dialling end of converse.
func (f flow) start(conn net.Conn) error {
	if err := binary.Write(conn, binary.BigEndian, f); err != nil {
		return errors.Join(err, conn.Close())
	}
	if err := f.converse(conn, dialing, accepting); err != nil {
		return fmt.Errorf("flow %x from %s to %s: %w", f.Seed, conn.LocalAddr(), conn.RemoteAddr(), err)
	}
	return nil
}

// answer is the accepting end of converse.
func answer(conn net.Conn) error {
	var f flow
	if err := conn.SetReadDeadline(time.Now().Add(stallLimit)); err != nil {
		return err
	}
	if err := binary.Read(conn, binary.BigEndian, &f); err != nil {
		return errors.Join(fmt.Errorf("the announcement of a flow: %w", err), conn.Close())
	}
	if err := f.converse(conn, accepting, dialing); err != nil {
		return fmt.Errorf("flow %x accepted by %s: %w", f.Seed, conn.LocalAddr(), err)
	}
	return nil
}

// serveStreams answers all connections until the listener is closed, and returns the
// first error.
func serveStreams(l net.Listener) error {
	var open sync.WaitGroup
	failed := make(chan error, 1)
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		open.Go(func() {
			if err := answer(conn); err != nil {
				select {
				case failed <- err:
				default: // only the first error is returned
				}
				_ = l.Close()
			}
		})
	}
	open.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// pace limits the rate of a sender.
type pace struct {
	rate float64
	due  time.Time
}

func newPace(rate uint64) *pace { return &pace{rate: float64(rate)} }

// spend waits until the sender may send n more bytes. It tolerates a few milliseconds.
func (p *pace) spend(n int) {
	if p.rate == 0 {
		return
	}
	now := time.Now()
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	if early := p.due.Sub(now); early > 5*time.Millisecond {
		<-time.After(early)
	}
}
