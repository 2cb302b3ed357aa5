package netlink

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// IPv4 settings of an interface, for SetIPv4Conf (linux/ip.h).
const (
	ConfForwarding = 1
	ConfRPFilter   = 8
)

const (
	iflaInetConf   = 1 // IFLA_INET_CONF (linux/if_link.h)
	addrGenModeOff = 1 // IN6_ADDR_GEN_MODE_NONE
)

// SetName renames an interface.
func (r *RTNetlink) SetName(index uint32, name string) error {
	return r.setLink(index, 0, 0, func(e *Encoder) { e.Text(unix.IFLA_IFNAME, name) })
}

// SetUp sets an interface up or down.
func (r *RTNetlink) SetUp(index uint32, up bool) error {
	var flags uint32
	if up {
		flags = unix.IFF_UP
	}
	return r.setLink(index, flags, unix.IFF_UP, func(*Encoder) {})
}

// SetMTU sets the MTU of an interface.
func (r *RTNetlink) SetMTU(index uint32, mtu int) error {
	return r.setLink(index, 0, 0, func(e *Encoder) { e.Uint32(unix.IFLA_MTU, uint32(mtu)) })
}

// SetNoLinkLocal makes the kernel give an interface no IPv6 link-local address when it
// goes up.
func (r *RTNetlink) SetNoLinkLocal(index uint32) error {
	return r.setLink(index, 0, 0, func(e *Encoder) {
		spec := e.Nest(unix.IFLA_AF_SPEC)
		inet := e.Nest(unix.AF_INET6)
		e.Bytes(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{addrGenModeOff})
		e.EndNest(inet)
		e.EndNest(spec)
	})
}

// SetIPv4Conf sets one of the IPv4 settings of an interface.
func (r *RTNetlink) SetIPv4Conf(name string, conf uint16, value uint32) error {
	l, err := r.Link(name)
	if err != nil {
		return err
	}
	if l.Index == 0 {
		return fmt.Errorf("configure interface %s: %w", name, unix.ENODEV)
	}
	err = r.setLink(l.Index, 0, 0, func(e *Encoder) {
		spec := e.Nest(unix.IFLA_AF_SPEC)
		inet := e.Nest(unix.AF_INET)
		list := e.Nest(iflaInetConf)
		e.Uint32(conf, value)
		e.EndNest(list)
		e.EndNest(inet)
		e.EndNest(spec)
	})
	if err != nil {
		return fmt.Errorf("configure interface %s: %w", name, err)
	}
	return nil
}

// setLink changes an interface: the flags that change covers, and what fill appends.
func (r *RTNetlink) setLink(index, flags, change uint32, fill func(*Encoder)) error {
	return r.request(unix.RTM_SETLINK, 0, func(e *Encoder) {
		e.linkHeader(index, flags, change)
		fill(e)
	}, nil)
}
