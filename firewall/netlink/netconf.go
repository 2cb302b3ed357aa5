package netlink

import "golang.org/x/sys/unix"

// Netconf is a setting of an interface as the kernel notifies of it.
type Netconf struct {
	IPv6  bool
	Index uint32 // of the interface, or NetconfAll
	Kind  uint16 // NetconfForwarding and so on
}

// NetconfAll is the index of the settings that are for all interfaces.
const NetconfAll = 1<<32 - 1

// Kinds of settings (linux/netconf.h).
const (
	netconfIndex      = 1
	NetconfForwarding = 2
	NetconfRPFilter   = 3
	// NetconfUnnamed is a setting that the kernel gives neither kind nor value:
	// force_forwarding, from Linux 6.17 on.
	NetconfUnnamed = 0
)

// NetconfUnknown is the value of a NetconfUnnamed.
const NetconfUnknown = 1<<32 - 1

// ParseNetconf returns the values in a message about the settings of an interface; nil
// for any other message.
func ParseNetconf(m Message) map[Netconf]uint32 {
	const size = 4 // struct netconfmsg, padded
	if m.Type != unix.RTM_NEWNETCONF || len(m.Body) < size {
		return nil
	}
	of := Netconf{IPv6: m.Body[0] == unix.AF_INET6}
	values := map[uint16]uint32{}
	for typ, v := range Attributes(m.Body[size:]) {
		if typ == netconfIndex {
			of.Index = hostUint32(v)
		} else {
			values[typ] = hostUint32(v)
		}
	}
	if len(values) == 0 {
		values[NetconfUnnamed] = NetconfUnknown
	}
	out := map[Netconf]uint32{}
	for kind, v := range values {
		of.Kind = kind
		out[of] = v
	}
	return out
}
