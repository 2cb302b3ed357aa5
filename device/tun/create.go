package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const cloneDevice = "/dev/net/tun"

// mode is how a descriptor exchanges packets.
type mode struct {
	virtio bool // each packet follows a virtio-net header, and may be a super-packet
	udp    bool // super-packets may be of UDP, too (Linux 6.2)
}

// create creates the link, or without IFF_TUN_EXCL in flags takes over an existing
// one, and returns its descriptor.
func create(name string, flags uint16) (int, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, cloneError{err}
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// duplicate returns another descriptor of f. os.File decides when it is made whether
// the runtime can wait for reads, and f may have been made from a blocking
// descriptor.
func duplicate(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(old uintptr) {
		fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(err, failed)
}

// negotiate returns the link's name, and switches on the offloads that the kernel
// has.
func negotiate(fd int) (string, mode, error) {
	name, flags, err := attached(fd)
	switch {
	case err != nil:
		return "", mode{}, err
	case flags&unix.IFF_TUN == 0:
		return "", mode{}, fmt.Errorf("interface %s is not a TUN interface", name)
	case flags&unix.IFF_VNET_HDR == 0:
		return name, mode{}, nil
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, virtioSize); err != nil {
		return "", mode{}, fmt.Errorf("set the virtio-net header of %s: %w", name, err)
	}
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil {
		return name, mode{virtio: true, udp: true}, nil
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp); err != nil {
		return "", mode{}, fmt.Errorf("switch on offloads of %s: %w", name, err)
	}
	return name, mode{virtio: true}, nil
}

// attached returns name and flags of the link to which a descriptor belongs.
func attached(fd int) (name string, flags uint16, err error) {
	ifr, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr)
	}
	if err != nil {
		return "", 0, fmt.Errorf("ask for the interface's name: %w", err)
	}
	return ifr.Name(), ifr.Uint16(), nil
}
