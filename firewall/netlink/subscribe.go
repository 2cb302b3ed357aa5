package netlink

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// Multicast groups that package unix lacks.
const (
	GroupNftables = 7  // NFNLGRP_NFTABLES
	GroupIPv6Rule = 19 // RTNLGRP_IPV6_RULE
)

// Subscribe opens a non-blocking socket that receives the events of multicast
// groups, except those that the socket with address port caused.
func Subscribe(protocol int, port uint32, groups ...int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "netlink")
	if err := exclude(fd, port); err != nil {
		_ = file.Close()
		return nil, err
	}
	// A larger receive buffer, so that one large transaction of another program
	// does not overflow it: an overflow counts as a change.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// exclude makes the kernel drop the events that the socket with address port
// caused. The filter looks at the first message of a datagram; all messages of a
// datagram have the same cause.
func exclude(fd int, port uint32) error {
	const portAt = 12
	native := binary.NativeEndian.AppendUint32(nil, port)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: portAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(native), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 30},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
