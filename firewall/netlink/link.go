package netlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Link is a network interface.
type Link struct {
	Index     uint32
	Name      string
	Kind      string // such as "veth"; empty for hardware and the loopback
	Type      uint16 // unix.ARPHRD_ETHER and so on
	Flags     uint32 // unix.IFF_UP and so on
	Up        bool   // Flags has IFF_UP
	OperState byte   // OperUp and so on (RFC 2863)
	MTU       int
	Master    uint32 // index of the bridge, bond or VRF that it belongs to; 0: none
	Table     int    // routing table of a VRF
}

// States of an interface (linux/if.h).
const (
	OperUnknown = 0 // the driver does not tell
	OperUp      = 6
)

// KindVRF is the kind of a VRF: an interface with a routing table that packets of the
// interfaces in it use.
const KindVRF = "vrf"

// Link returns an interface by name; its index is 0 if there is none.
func (r *RTNetlink) Link(name string) (Link, error) {
	l, err := r.link(0, func(e *Encoder) { e.Text(unix.IFLA_IFNAME, name) })
	if err != nil {
		return Link{}, fmt.Errorf("look up interface %s: %w", name, err)
	}
	return l, nil
}

// LinkAt returns an interface by index; its index is 0 if there is none.
func (r *RTNetlink) LinkAt(index uint32) (Link, error) {
	l, err := r.link(index, func(*Encoder) {})
	if err != nil {
		return Link{}, fmt.Errorf("look up interface %d: %w", index, err)
	}
	return l, nil
}

// LinkName returns the name of an interface; it is empty if there is none.
func (r *RTNetlink) LinkName(index uint32) (string, error) {
	l, err := r.LinkAt(index)
	return l.Name, err
}

func (r *RTNetlink) link(index uint32, more func(*Encoder)) (l Link, err error) {
	err = r.request(unix.RTM_GETLINK, 0, func(e *Encoder) {
		e.linkHeader(index, 0, 0)
		more(e)
	}, func(m Message) { l = ParseLink(m) })
	if errors.Is(err, unix.ENODEV) {
		return Link{}, nil
	}
	return l, err
}

// Links returns all interfaces.
func (r *RTNetlink) Links() ([]Link, error) {
	var out []Link
	err := r.dump(unix.RTM_GETLINK, func(e *Encoder) { e.linkHeader(0, 0, 0) }, func() { out = nil },
		func(m Message) { out = append(out, ParseLink(m)) })
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	return out, nil
}

// linkHeader appends a struct ifinfomsg. Change covers the flags that the message sets.
func (e *Encoder) linkHeader(index, flags, change uint32) {
	at := len(e.b)
	e.b = append(e.b, make([]byte, unix.SizeofIfInfomsg)...)
	putUint32(e.b[at+4:], index)
	putUint32(e.b[at+8:], flags)
	putUint32(e.b[at+12:], change)
}

// ParseLink decodes a message about an interface. The result of a message that is too
// short is empty.
func ParseLink(m Message) (l Link) {
	if len(m.Body) < unix.SizeofIfInfomsg {
		return Link{}
	}
	l.Type, l.Index, l.Flags = hostUint16(m.Body[2:]), hostUint32(m.Body[4:]), hostUint32(m.Body[8:])
	l.Up = l.Flags&unix.IFF_UP != 0
	attributes := m.Body[unix.SizeofIfInfomsg:]
	l.Name = Text(Attribute(attributes, unix.IFLA_IFNAME))
	l.MTU = int(hostUint32(Attribute(attributes, unix.IFLA_MTU)))
	l.Master = hostUint32(Attribute(attributes, unix.IFLA_MASTER))
	l.OperState = firstByte(Attribute(attributes, unix.IFLA_OPERSTATE))
	info := Attribute(attributes, unix.IFLA_LINKINFO)
	l.Kind = Text(Attribute(info, unix.IFLA_INFO_KIND))
	if l.Kind == KindVRF {
		data := Attribute(info, unix.IFLA_INFO_DATA)
		l.Table = int(hostUint32(Attribute(data, unix.IFLA_VRF_TABLE)))
	}
	return l
}
