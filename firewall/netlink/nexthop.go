package netlink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// NextHop is where a route sends packets.
type NextHop struct {
	Interface uint32
	Gateway   netip.Addr // invalid: the destination is on the link
}

// NextHops returns all next hops in a message about a route.
func NextHops(m Message) []NextHop {
	if len(m.Body) < unix.SizeofRtMsg {
		return nil
	}
	single := m.Body[unix.SizeofRtMsg:]
	var out []NextHop
	for typ, v := range Attributes(single) {
		for typ == unix.RTA_MULTIPATH && len(v) >= unix.SizeofRtNexthop { // struct rtnexthop
			n := int(binary.NativeEndian.Uint16(v))
			if n < unix.SizeofRtNexthop || n > len(v) {
				break
			}
			out = append(out, NextHop{hostUint32(v[4:]), gatewayOf(v[unix.SizeofRtNexthop:n])})
			v = v[min(align4(n), len(v)):]
		}
		if typ == unix.RTA_OIF {
			out = append(out, NextHop{hostUint32(v), gatewayOf(single)})
		}
	}
	return out
}

// gatewayOf returns the gateway in a list of attributes, which may be of the other
// family.
func gatewayOf(attributes []byte) netip.Addr {
	v := Attribute(attributes, unix.RTA_GATEWAY)
	if via := Attribute(attributes, unix.RTA_VIA); len(via) > 2 { // struct rtvia
		v = via[2:]
	}
	gateway, _ := netip.AddrFromSlice(v)
	return gateway
}
