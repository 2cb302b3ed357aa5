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

// datagramHeader is the size of the seed and the number at the start of a datagram that
// is long enough for both.
const datagramHeader = 16

// datagram returns the content of a datagram, which depends on seed, number and size. No
// part of one occurs in another.
func datagram(seed, number uint64, size int) []byte {
	if size < datagramHeader {
		seed, number = 0, 0
	}
	b := make([]byte, size)
	key := flow{Seed: seed ^ number*0x9e3779b97f4a7c15 ^ uint64(size)<<48}
	_, _ = key.source(useContent).Read(b) // does not fail
	if size >= datagramHeader {
		binary.BigEndian.PutUint64(b, seed)
		binary.BigEndian.PutUint64(b[8:], number)
	}
	return b
}

// checkDatagram returns seed and number of a datagram, or an error if it was changed.
func checkDatagram(b []byte) (seed, number uint64, err error) {
	if len(b) >= datagramHeader {
		seed, number = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	}
	if !bytes.Equal(b, datagram(seed, number, len(b))) {
		return 0, 0, fmt.Errorf("datagram %x/%d of %d bytes is corrupt", seed, number, len(b))
	}
	return seed, number, nil
}

// serveDatagrams sends each datagram back to its sender until the socket is closed.
func serveDatagrams(conn net.PacketConn) {
	for buf := make([]byte, 64<<10); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(buf[:n], from) // datagrams may be lost
	}
}

// echoes counts datagrams that are sent to a server and come back.
type echoes struct {
	sent     uint64
	returned atomic.Uint64
}

// run sends datagrams until ctx ends and checks those that come back: none may be
// corrupt, and none may come back twice, since WireGuard drops replays.
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
		_, _ = conn.Write(b) // datagrams may be lost
		pace.spend(len(b))
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // for the last ones
	return <-done
}

// check reads until a deadline passes.
func (e *echoes) check(conn net.Conn, own uint64) error {
	seen := make([]uint64, 1<<16) // by the number's low bits: the number plus one
	for buf := make([]byte, 64<<10); ; {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			continue // an ICMP error
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

// A burst has so few datagrams and bytes that an idle machine drops none of them. On a
// busy machine the missing ones are sent again, from another port: upstream produces
// checksums of zero, which IPv6 forbids in UDP.
const (
	burst        = 32
	burstBytes   = 60_000
	burstTime    = 2 * time.Second
	burstRetries = 10
)

// dialUDP opens a socket with a port of its own.
type dialUDP func() (*net.UDPConn, error)

// returnAll sends one datagram of each size, in bursts, until all have come back
// unchanged.
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

// returnBurst sends one datagram of each size, and returns the sizes of those that do
// not come back.
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

// stillMissing reads until all have come back or the time for the burst is over.
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

// returnTrain sends count datagrams of one size, the last one shorter, with one call: as
// one super-packet, if the kernel and its interfaces support that. All must come back.
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

// sendTrain sends a train and returns how many of its datagrams come back.
func sendTrain(conn *net.UDPConn, train []byte, size, count int) (int, error) {
	if err := segment(conn, size); err != nil {
		return 0, err
	}
	if _, err := conn.Write(train); err != nil {
		return 0, fmt.Errorf("%d datagrams of %d bytes at once: %w", count, size, err)
	}
	return countBack(conn, count)
}

// countBack counts the datagrams of a train that come back, until it has all or the time
// is over.
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

// segment makes the kernel split what is written into datagrams of the given size.
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
