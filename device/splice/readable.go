package splice

import (
	"errors"
	"net"
	"syscall"
)

// WaitReadable waits until a socket has something to read, if its type can tell.
func WaitReadable(socket any) error {
	switch c := socket.(type) {
	case *net.UDPConn:
		return waitForDatagram(c)
	case interface{ WaitReadable() error }:
		return c.WaitReadable()
	}
	return nil
}

// waitForDatagram waits until a kernel's socket has a datagram, its error, or is closed.
// The error may be returned once, here instead of by a read.
func waitForDatagram(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		peekErr = syscall.EINTR
		for errors.Is(peekErr, syscall.EINTR) {
			_, _, peekErr = syscall.Recvfrom(int(fd), nil, syscall.MSG_PEEK)
		}
		return !errors.Is(peekErr, syscall.EAGAIN)
	})
	if err != nil {
		return err
	}
	return peekErr
}
