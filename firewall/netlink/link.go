package netlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Link is a network interface.
type Link struct {
	Index uint32
	Up    bool
}

// IPv4 settings of an interface, for SetIPv4Conf (linux/ip.h).
const (
	ConfForwarding = 1
	ConfRPFilter   = 8
)

// Attributes (linux/if_link.h).
const (
	iflaInfoKind = 1
	iflaInetConf = 1
)

// Link returns an interface by name; its index is 0 if there is none.
func (r *RTNetlink) Link(name string) (Link, error) {
	var l Link
	err := r.request(unix.RTM_GETLINK, 0, func(e *Encoder) {
		e.linkHeader(0)
		e.Text(unix.IFLA_IFNAME, name)
	}, func(m Message) { l, _ = ParseLink(m) })
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return Link{}, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return l, nil
}

// LinkName returns the name of an interface; it is empty if there is none.
func (r *RTNetlink) LinkName(index uint32) (string, error) {
	var name string
	err := r.request(unix.RTM_GETLINK, 0, func(e *Encoder) { e.linkHeader(index) },
		func(m Message) { _, name = ParseLink(m) })
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return "", fmt.Errorf("look up interface %d: %w", index, err)
	}
	return name, nil
}

// linkHeader appends a struct ifinfomsg.
func (e *Encoder) linkHeader(index uint32) {
	at := len(e.b)
	e.b = append(e.b, make([]byte, unix.SizeofIfInfomsg)...)
	putUint32(e.b[at+4:], index)
}

// ParseLink decodes a message about an interface.
func ParseLink(m Message) (l Link, name string) {
	if len(m.Body) < unix.SizeofIfInfomsg {
		return Link{}, ""
	}
	l.Index, l.Up = hostUint32(m.Body[4:]), hostUint32(m.Body[8:])&unix.IFF_UP != 0
	for typ, v := range Attributes(m.Body[unix.SizeofIfInfomsg:]) {
		if typ == unix.IFLA_IFNAME {
			name = Text(v)
		}
	}
	return l, name
}

// LinkKind returns the kind of the interface that a message is about, such as "veth".
func LinkKind(m Message) (kind string) {
	if len(m.Body) < unix.SizeofIfInfomsg {
		return ""
	}
	for typ, info := range Attributes(m.Body[unix.SizeofIfInfomsg:]) {
		if typ != unix.IFLA_LINKINFO {
			continue
		}
		for typ, v := range Attributes(info) {
			if typ == iflaInfoKind {
				kind = Text(v)
			}
		}
	}
	return kind
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
	err = r.request(unix.RTM_SETLINK, 0, func(e *Encoder) {
		e.linkHeader(l.Index)
		spec := e.Nest(unix.IFLA_AF_SPEC)
		inet := e.Nest(unix.AF_INET)
		list := e.Nest(iflaInetConf)
		e.Uint32(conf, value)
		e.EndNest(list)
		e.EndNest(inet)
		e.EndNest(spec)
	}, nil)
	if err != nil {
		return fmt.Errorf("configure interface %s: %w", name, err)
	}
	return nil
}
