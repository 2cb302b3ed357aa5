package tun

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// appendIovec appends a reference to b.
func appendIovec(iov []unix.Iovec, b []byte) []unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return append(iov, v)
}

// The descriptor is non-blocking, so these calls do not wait for the kernel, and the
// scheduler need not know of them. Raw system calls save 2–3 % with small packets
// (20–40 of 1,200 ns), and no other thread takes over the processor in the middle of
// a batch.

func readv(fd uintptr, iov []unix.Iovec) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	return int(n), errno
}

// writev uses write(2) where that will do, which saves 120 of 1,550 ns.
func writev(fd uintptr, iov []unix.Iovec) unix.Errno {
	if len(iov) == 1 {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(iov[0].Base)), uintptr(iov[0].Len))
		return errno
	}
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	return errno
}
