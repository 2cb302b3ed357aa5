package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Multicast groups that package unix lacks.
const (
	GroupNftables = 7  // NFNLGRP_NFTABLES
	GroupIPv6Rule = 19 // RTNLGRP_IPV6_RULE
)

// resubscribeAfter is the wait before a lost subscription is tried again.
const resubscribeAfter = time.Second

// Subscription receives the events of multicast groups.
type Subscription struct {
	protocol int
	groups   []int
	port     uint32
	buf      []byte

	mu     sync.Mutex // guards what follows
	file   *os.File
	routes *RouteFilter
}

// RouteFilter selects the events about routes that the kernel delivers: those of
// the tables, and those with a prefix length. A router with a full table changes
// thousands of others.
type RouteFilter struct {
	All     bool
	Tables  []int
	Lengths []int
}

// Subscribe opens a non-blocking socket that receives the events of multicast
// groups, except those that the socket with address port caused; 0: all.
func Subscribe(protocol int, port uint32, groups ...int) (*Subscription, error) {
	s := &Subscription{protocol: protocol, port: port, groups: groups, buf: make([]byte, 1<<16)}
	var err error
	if s.file, err = s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Subscription) open() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, s.protocol)
	if err != nil {
		return nil, err
	}
	err = attach(fd, s.filter())
	// A larger receive buffer, so that one large transaction of another program
	// does not overflow it: an overflow counts as a change.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	for _, g := range s.groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// SetRoutes replaces the filter of events about routes.
func (s *Subscription) SetRoutes(f RouteFilter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes = &f
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	return errors.Join(raw.Control(func(fd uintptr) { failed = attach(int(fd), s.filter()) }), failed)
}

// SyscallConn gives access to the socket.
func (s *Subscription) SyscallConn() (syscall.RawConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.SyscallConn()
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.file.Close()
}

// Listen calls changed after events that relevant selects, and after events may have
// been lost, until ctx is done. Relevant sees all messages. A socket that fails is
// replaced by a new subscription.
func (s *Subscription) Listen(ctx context.Context, relevant func(Message) bool, changed func()) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = s.file.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	for ctx.Err() == nil {
		if err := s.Await(relevant); err != nil && !s.replace(ctx) {
			return
		}
		changed()
	}
}

// Await waits for an event that relevant selects, and passes it all messages. It also
// returns after the kernel has dropped events. It fails if the socket fails or is
// closed, and must not be called concurrently.
func (s *Subscription) Await(relevant func(Message) bool) error {
	s.mu.Lock()
	file := s.file
	s.mu.Unlock()
	for {
		n, err := file.Read(s.buf)
		if errors.Is(err, unix.ENOBUFS) {
			return nil
		} else if err != nil {
			return err
		}
		found := false
		for m := range Messages(s.buf[:n]) {
			found = relevant(m) || found
		}
		if found {
			return nil
		}
	}
}

// replace opens the socket again, and reports whether it could before ctx was done.
func (s *Subscription) replace(ctx context.Context) bool {
	for ctx.Err() == nil {
		s.mu.Lock()
		file, err := s.open()
		if err == nil {
			_ = s.file.Close()
			s.file = file
		}
		s.mu.Unlock()
		if err == nil {
			return true
		}
		again := time.NewTimer(resubscribeAfter)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
	return false
}

// filter returns a BPF program that drops the events that the socket with address
// port caused, and those about other routes. It looks at the first message of a
// datagram: all messages of a datagram have the same cause.
func (s *Subscription) filter() []unix.SockFilter {
	const (
		typeAt, portAt    = 4, 12
		lengthAt, tableAt = unix.SizeofNlMsghdr + 1, unix.SizeofNlMsghdr + 4
	)
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter { // skips instructions if the value is another
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	pass, drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 30}, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	var out []unix.SockFilter
	if s.port != 0 {
		out = append(out, load(unix.BPF_W, portAt), unless(swapped32(s.port), 1), drop)
	}
	if s.routes == nil || s.routes.All {
		return append(out, pass)
	}
	isNew := unless(swapped16(unix.RTM_NEWROUTE), 0)
	isNew.Jt = 2
	out = append(out, load(unix.BPF_H, typeAt), isNew, unless(swapped16(unix.RTM_DELROUTE), 0))
	out[len(out)-1].Jt = 1
	out = append(out, pass, load(unix.BPF_B, tableAt))
	for _, t := range s.routes.Tables {
		if t > 255 {
			t = unix.RT_TABLE_COMPAT
		}
		out = append(out, unless(uint32(t), 1), pass)
	}
	out = append(out, load(unix.BPF_B, lengthAt))
	for _, n := range s.routes.Lengths {
		out = append(out, unless(uint32(n), 1), pass)
	}
	return append(out, drop)
}

// swapped32 returns a number as a BPF program loads it from a message: programs
// read in network byte order.
func swapped32(v uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v))
}

func swapped16(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}

func attach(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
