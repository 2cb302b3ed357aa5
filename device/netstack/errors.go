package netstack

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// state says whether a socket was closed, which makes its errors clear.
type state struct{ closed atomic.Bool }

// translate replaces gonet's texts in an error.
func (c *state) translate(err error) error {
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return &net.OpError{Op: "use", Net: "netstack", Err: net.ErrClosed}
	case !errors.As(err, &op):
		return err
	case op.Timeout():
		op.Err = os.ErrDeadlineExceeded
	default:
		if number, known := numbers[op.Err.Error()]; known {
			op.Err = number
		}
	}
	return err
}

// numbers are the error numbers for the stack's errors, by text: gonet passes on no more.
var numbers = map[string]syscall.Errno{
	(&tcpip.ErrConnectionRefused{}).String():  syscall.ECONNREFUSED,
	(&tcpip.ErrConnectionReset{}).String():    syscall.ECONNRESET,
	(&tcpip.ErrConnectionAborted{}).String():  syscall.ECONNABORTED,
	(&tcpip.ErrAborted{}).String():            syscall.ECONNABORTED,
	(&tcpip.ErrClosedForSend{}).String():      syscall.EPIPE,
	(&tcpip.ErrTimeout{}).String():            syscall.ETIMEDOUT,
	(&tcpip.ErrHostUnreachable{}).String():    syscall.EHOSTUNREACH,
	(&tcpip.ErrNetworkUnreachable{}).String(): syscall.ENETUNREACH,
	(&tcpip.ErrPortInUse{}).String():          syscall.EADDRINUSE,
	(&tcpip.ErrBadLocalAddress{}).String():    syscall.EADDRNOTAVAIL,
	(&tcpip.ErrNoPortAvailable{}).String():    syscall.EADDRNOTAVAIL,
	(&tcpip.ErrMessageTooLong{}).String():     syscall.EMSGSIZE,
}

// errorOf returns an error of the stack as one of the operating system, where there is
// one.
func errorOf(err tcpip.Error) error {
	if number, known := numbers[err.String()]; known {
		return number
	}
	return errors.New(err.String())
}
