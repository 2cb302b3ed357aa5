package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// datagramHeader is the seed and the number that a datagram begins with, if it
// is that long.
const datagramHeader = 16

// datagram is a function of seed, number and size: no part of one is another.
func datagram(seed, number uint64, size int) []byte {
	if size < datagramHeader {
		seed, number = 0, 0
	}
	b := make([]byte, size)
	key := flow{Seed: seed ^ number*0x9e3779b97f4a7c15 ^ uint64(size)<<48}
	_, _ = key.source(useContent).Read(b) // never fails
	if size >= datagramHeader {
		binary.BigEndian.PutUint64(b, seed)
		binary.BigEndian.PutUint64(b[8:], number)
	}
	return b
}

// checkDatagram returns seed and number of a datagram that is as it was sent.
func checkDatagram(b []byte) (seed, number uint64, err error) {
	if len(b) >= datagramHeader {
		seed, number = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	}
	if !bytes.Equal(b, datagram(seed, number, len(b))) {
		return 0, 0, fmt.Errorf("datagram %x/%d of %d bytes is corrupt", seed, number, len(b))
	}
	return seed, number, nil
}

// serveDatagrams returns what comes to where it came from, until the socket closes.
func serveDatagrams(conn net.PacketConn) {
	for buf := make([]byte, 64<<10); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(buf[:n], from) // loss is allowed
	}
}

// echoes counts datagrams that go to a server and return.
type echoes struct {
	sent     uint64
	returned atomic.Uint64
}

// run sends datagrams of sizes until ctx ends, and checks what returns: nothing
// corrupt, nothing twice, since WireGuard drops replays.
func (e *echoes) run(ctx context.Context, conn net.Conn, f flow, size func() int) error {
	done := make(chan error, 1)
	go func() { done <- e.check(conn, f.Seed) }()
	defer conn.Close()
	for pace := newPace(f.Rate); ctx.Err() == nil; e.sent++ {
		select {
		case err := <-done:
			return err
		default:
		}
		b := datagram(f.Seed, e.sent, max(datagramHeader, size()))
		_, _ = conn.Write(b) // loss is allowed
		pace.spend(len(b))
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // for the last ones
	return <-done
}

// check reads until a deadline passes.
func (e *echoes) check(conn net.Conn, own uint64) error {
	seen := make([]uint64, 1<<16) // by number, plus one
	for buf := make([]byte, 64<<10); ; {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			continue // ICMP's
		}
		seed, number, err := checkDatagram(buf[:n])
		slot := &seen[number%uint64(len(seen))]
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", conn.LocalAddr(), err)
		case seed != own:
			return fmt.Errorf("%s: datagram %x/%d is another socket's", conn.LocalAddr(), seed, number)
		case *slot == number+1:
			return fmt.Errorf("%s: datagram %d came twice", conn.LocalAddr(), number)
		}
		*slot = number + 1
		e.returned.Add(1)
	}
}

// A burst is few enough datagrams, and bytes, that nothing on a quiet machine
// drops them; on a busy one they are sent again. That is done from another port,
// since upstream makes checksums of zero, which IPv6 forbids in UDP.
const (
	burst        = 32
	burstBytes   = 60_000
	burstTime    = 2 * time.Second
	burstRetries = 10
)

// dialUDP makes a socket with a port of its own.
type dialUDP func() (*net.UDPConn, error)

// returnAll sends one datagram of each size, in bursts, until all have returned
// as they were sent.
func returnAll(dial dialUDP, sizes []int) error {
	for len(sizes) > 0 {
		count, total := 0, 0
		for count < min(burst, len(sizes)) && (count == 0 || total+sizes[count] <= burstBytes) {
			total += sizes[count]
			count++
		}
		missing := sizes[:count]
		for try := 0; len(missing) > 0; try++ {
			if try == burstRetries {
				return fmt.Errorf("datagrams of sizes %v do not return", missing)
			}
			var err error
			if missing, err = returnBurst(dial, missing); err != nil {
				return err
			}
		}
		sizes = sizes[count:]
	}
	return nil
}

// returnBurst sends datagrams, and returns the sizes of those that don't return.
func returnBurst(dial dialUDP, sizes []int) ([]int, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, size := range sizes {
		if _, err := conn.Write(datagram(0, uint64(size), size)); err != nil {
			return nil, fmt.Errorf("a datagram of %d bytes: %w", size, err)
		}
	}
	return stillMissing(conn, sizes)
}

// stillMissing reads until all have returned or the burst's time is over.
func stillMissing(conn net.Conn, sizes []int) ([]int, error) {
	left := make(map[int]bool, len(sizes))
	for _, size := range sizes {
		left[size] = true
	}
	if err := conn.SetReadDeadline(time.Now().Add(burstTime)); err != nil {
		return nil, err
	}
	for buf := make([]byte, 64<<10); len(left) > 0; {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, _, err := checkDatagram(buf[:n]); err != nil {
			return nil, err
		}
		delete(left, n)
	}
	missing := make([]int, 0, len(left))
	for _, size := range sizes {
		if left[size] {
			missing = append(missing, size)
		}
	}
	return missing, nil
}

// returnTrain sends count datagrams of one size, the last one shorter, by one
// call: a super-packet, if the kernel and its interfaces make such. All must return.
func returnTrain(dial dialUDP, size, count int) error {
	var train []byte
	for i := range count - 1 {
		train = append(train, datagram(1, uint64(i), size)...)
	}
	train = append(train, datagram(1, uint64(count-1), size/2)...)
	for range burstRetries {
		conn, err := dial()
		if err != nil {
			return err
		}
		back, err := sendTrain(conn, train, size, count)
		_ = conn.Close()
		if err != nil || back == count {
			return err
		}
	}
	return fmt.Errorf("of %d datagrams of %d bytes sent at once, not all return", count, size)
}

// sendTrain returns how many datagrams of a train return.
func sendTrain(conn *net.UDPConn, train []byte, size, count int) (int, error) {
	if err := segment(conn, size); err != nil {
		return 0, err
	}
	if _, err := conn.Write(train); err != nil {
		return 0, fmt.Errorf("%d datagrams of %d bytes at once: %w", count, size, err)
	}
	return countBack(conn, count)
}

// countBack counts datagrams of a train until all are there or the time is over.
func countBack(conn net.Conn, count int) (int, error) {
	if err := conn.SetReadDeadline(time.Now().Add(burstTime)); err != nil {
		return 0, err
	}
	back := map[uint64]bool{}
	for buf := make([]byte, 64<<10); len(back) < count; {
		n, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return 0, err
		}
		_, number, err := checkDatagram(buf[:n])
		if err != nil {
			return 0, err
		}
		back[number] = true
	}
	return len(back), nil
}

// segment makes the kernel cut what is written into datagrams of a size.
func segment(conn *net.UDPConn, size int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), syscall.IPPROTO_UDP, unix.UDP_SEGMENT, size))
	})
	return errors.Join(err, failed)
}
