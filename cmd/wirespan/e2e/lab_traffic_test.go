package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// leakTraffic sends datagrams, pings and SYNs from a host to several addresses in turn,
// without a pause. Packets that the kernel refuses are only counted.
type leakTraffic struct {
	*labHost
	to      []netip.Addr
	burst   atomic.Int32 // packets per millisecond
	sent    atomic.Uint64
	refused atomic.Uint64
	stopped chan struct{}
	done    chan error
}

// sendsTo starts traffic that goes on until the test ends.
func (h *labHost) sendsTo(to ...netip.Addr) *leakTraffic {
	h.Helper()
	t := &leakTraffic{labHost: h, to: to, stopped: make(chan struct{}), done: make(chan error, 1)}
	t.burst.Store(1)
	go func() { t.done <- h.inside(t.run) }()
	h.Cleanup(func() {
		close(t.stopped)
		if err := <-t.done; err != nil {
			h.Errorf("traffic from %s: %v", h.name, err)
		}
	})
	return t
}

// leakSocket describes one kind of traffic.
type leakSocket struct {
	typ, protocol int // IPPROTO_ICMP stands for ICMPv6 too
	message       []byte
}

var leakSockets = []leakSocket{
	{unix.SOCK_DGRAM, 0, []byte(leakMarker)},
	{unix.SOCK_RAW, unix.IPPROTO_ICMP, append([]byte{0, 0, 0, 0, 'w', 's', 0, 1}, leakMarker...)},
	{unix.SOCK_STREAM, 0, nil},
}

func (t *leakTraffic) run() error {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i, left := 0, int32(0); ; i, left = i+1, left-1 {
		if left <= 0 {
			select {
			case <-t.stopped:
				return nil
			case <-pace.C:
				left = t.burst.Load()
			}
		}
		to := t.to[i%len(t.to)]
		err := leakSockets[i/len(t.to)%len(leakSockets)].send(to)
		t.sent.Add(1)
		var errno unix.Errno
		switch {
		case errors.As(err, &errno) && leakRefusals[errno]:
			t.refused.Add(1)
		case err != nil:
			return fmt.Errorf("to %s: %w", to, err)
		}
	}
}

// leakRefusals lists the errors of a kernel that refuses to send a packet.
var leakRefusals = map[unix.Errno]bool{
	unix.EHOSTUNREACH: true, unix.ENETUNREACH: true, unix.EPERM: true, unix.EACCES: true, unix.EINVAL: true,
	unix.ENETDOWN: true, unix.EADDRNOTAVAIL: true, unix.ENOBUFS: true, unix.ECONNREFUSED: true, unix.EAGAIN: true,
}

// send sends one message from a new socket, so that no route is cached.
func (s leakSocket) send(to netip.Addr) error {
	family, protocol, message := unix.AF_INET, s.protocol, bytes.Clone(s.message)
	echo := protocol == unix.IPPROTO_ICMP
	var address unix.Sockaddr
	if to.Is4() {
		address = &unix.SockaddrInet4{Port: 9000, Addr: to.As4()}
		if echo {
			message[0] = 8
			binary.BigEndian.PutUint16(message[2:], ^onesSum(message))
		}
	} else {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: 9000, Addr: to.As16()}
		if echo { // the kernel computes the checksum
			protocol, address, message[0] = unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: to.As16()}, 128
		}
	}
	fd, err := unix.Socket(family, s.typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if s.typ != unix.SOCK_STREAM {
		return unix.Sendto(fd, message, 0, address)
	}
	if err := unix.Connect(fd, address); !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return nil
}

// onesSum returns the ones' complement sum, whose complement is the Internet checksum.
func onesSum(b []byte) uint16 {
	var sum uint32
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// goesOn waits until everything has been sent several times more.
func (t *leakTraffic) goesOn(times int) {
	t.Helper()
	until := t.sent.Load() + uint64(times*len(t.to)*len(leakSockets))
	eventually(t.T, 30*time.Second, func() error {
		if sent := t.sent.Load(); sent < until {
			return fmt.Errorf("%s has sent %d of %d packets", t.name, sent, until)
		}
		return nil
	})
}

// sink receives datagrams with the marker on port 9000 of a host, and counts them by
// sender.
type sink struct {
	*labHost
	conn *net.UDPConn
	got  atomic.Uint64

	mu   sync.Mutex
	from map[netip.Addr]int
}

// sinks opens a sink on the host.
func (h *labHost) sinks() *sink {
	h.Helper()
	s := &sink{labHost: h, from: map[netip.Addr]int{}}
	err := h.inside(func() (err error) {
		s.conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: 9000})
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = s.conn.Close() })
	go s.run()
	return s
}

func (s *sink) run() {
	for buf := make([]byte, 2048); ; {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if !bytes.Contains(buf[:n], []byte(leakMarker)) {
			continue
		}
		s.mu.Lock()
		s.from[from.Addr().Unmap()]++
		s.mu.Unlock()
		s.got.Add(1)
	}
}

// senders returns the addresses whose datagrams reached the sink.
func (s *sink) senders() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.from), netip.Addr.Compare)
}

// getsMore waits until more datagrams arrive.
func (s *sink) getsMore(why string) {
	s.Helper()
	before := s.got.Load()
	took := eventually(s.T, 40*time.Second, func() error {
		if s.got.Load() < before+10 {
			return fmt.Errorf("%s: nothing reaches %s", why, s.name)
		}
		return nil
	})
	s.Logf("%s: %s got datagrams after %s", why, s.name, took.Round(time.Millisecond))
}
