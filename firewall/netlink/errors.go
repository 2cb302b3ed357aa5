package netlink

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ErrInterrupted says that the kernel's state changed during a dump, which may
// therefore be incomplete.
var ErrInterrupted = errors.New("the kernel's state changed while it was read")

var errNoAnswer = errors.New("the kernel did not answer")

// NoRules reports whether an error of [RTNetlink.Rules] says that the kernel has no
// policy routing: for any IP version, or for this one.
func NoRules(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

// kernelError is an errno with the kernel's explanation.
type kernelError struct {
	errno unix.Errno
	text  string
}

func (e kernelError) Error() string { return e.errno.Error() + " (kernel: " + e.text + ")" }
func (e kernelError) Unwrap() error { return e.errno }

// errorOf returns the error that an NLMSG_ERROR or NLMSG_DONE reports; nil for
// success.
func errorOf(m Message) error {
	errno := -int32(hostUint32(m.Body))
	if errno <= 0 {
		return nil
	}
	rest := m.Body[4:]
	if m.Type == unix.NLMSG_ERROR {
		rest = rest[min(unix.SizeofNlMsghdr, len(rest)):]
	}
	if m.Flags&unix.NLM_F_ACK_TLVS != 0 {
		if text := Attribute(rest, unix.NLMSGERR_ATTR_MSG); text != nil {
			return kernelError{unix.Errno(errno), Text(text)}
		}
	}
	return unix.Errno(errno)
}
