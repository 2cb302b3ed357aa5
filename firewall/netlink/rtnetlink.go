package netlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// RTNetlink is a netlink socket for interfaces, routes and policy-routing rules.
type RTNetlink struct{ socket }

// OpenRTNetlink opens a socket for rtnetlink.
func OpenRTNetlink() (*RTNetlink, error) {
	r := &RTNetlink{}
	if err := r.open(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	return r, nil
}

// Change adds or deletes one route or rule.
type Change struct {
	what       string // for errors
	typ, flags uint16
	fill       func(*Encoder)
	accept     []unix.Errno // errors that count as success
}

// Commit makes changes in order, and returns the first error. Changes are sent in
// groups; those of the same group that follow the failed one are still made.
func (r *RTNetlink) Commit(changes []Change) error {
	const group = 256 // the answers to so many fit into the receive buffer
	for len(changes) > 0 {
		n := min(group, len(changes))
		if err := r.commit(changes[:n]); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

func (r *RTNetlink) commit(changes []Change) error {
	var e Encoder
	first := r.seq + 1
	for i, c := range changes {
		flags := c.flags
		if i == len(changes)-1 {
			flags |= unix.NLM_F_ACK
		}
		at := e.begin(c.typ, flags, r.next())
		c.fill(&e)
		e.End(at)
	}
	if err := r.send(e.b); err != nil {
		return fmt.Errorf("%s: %w", changes[0].what, err)
	}
	var failed error
	for done := false; ; {
		got, err := r.receive()
		switch {
		case errors.Is(err, unix.EAGAIN) && failed == nil && !done:
			return fmt.Errorf("%s: %w", changes[len(changes)-1].what, errNoAnswer)
		case errors.Is(err, unix.EAGAIN):
			return failed
		case err != nil:
			return fmt.Errorf("%s: %w", changes[0].what, err)
		}
		for m := range got {
			i := int(int32(m.Seq - first))
			if m.Type != unix.NLMSG_ERROR || i < 0 || i >= len(changes) {
				continue
			}
			done = done || i == len(changes)-1
			if err := changes[i].result(errorOf(m)); err != nil && failed == nil {
				failed = err
			}
		}
	}
}

// result returns the error of the change for an answer of the kernel.
func (c *Change) result(err error) error {
	for _, accepted := range c.accept {
		if errors.Is(err, accepted) {
			return nil
		}
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", c.what, err)
}
