package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// Bits of a connection's state in rules of nftables and iptables.
const (
	stateNew   = 8
	stateNewXT = 1 << 3
)

// meta loads what the kernel knows of a packet beside its bytes, or sets its mark.
func (v *verdicts) meta(e hostExpr) {
	key, _ := e.number(unix.NFTA_META_KEY)
	if s, ok := e.number(unix.NFTA_META_SREG); ok {
		if key == unix.NFT_META_MARK {
			data, known := v.reg.load(s, 4)
			if v.markKnown = data != nil && known[0] && known[1] && known[2] && known[3]; v.markKnown {
				v.mark = binary.NativeEndian.Uint32(data)
			}
		}
		return
	}
	d, _ := e.number(unix.NFTA_META_DREG)
	name := func(s string) []byte { return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...) }
	switch key {
	case unix.NFT_META_IIFNAME:
		v.reg.store(d, name(v.packet.In), 0)
	case unix.NFT_META_OIFNAME:
		v.reg.store(d, name(v.packet.Out), 0)
	case unix.NFT_META_IIF:
		v.reg.store(d, host(v.in), 0)
	case unix.NFT_META_OIF:
		v.reg.store(d, host(v.out), 0)
	case unix.NFT_META_NFPROTO:
		v.reg.store(d, []byte{v.family(), 0, 0, 0}, 0)
	case unix.NFT_META_L4PROTO:
		v.reg.store(d, v.protocol(), 1)
	case unix.NFT_META_PROTOCOL:
		ether := uint16(unix.ETH_P_IP)
		if v.packet.v6() {
			ether = unix.ETH_P_IPV6
		}
		v.reg.store(d, network(ether), 0)
	case unix.NFT_META_MARK:
		v.reg.store(d, nil, 4)
		if v.markKnown {
			v.reg.store(d, host(v.mark), 0)
		}
	default:
		v.reg.store(d, nil, 16)
	}
}

// payload loads bytes of the packet: of the IP header without options, as far as it is
// known, and the destination port.
func (v *verdicts) payload(e hostExpr) {
	d, loads := e.number(unix.NFTA_PAYLOAD_DREG)
	if !loads {
		return
	}
	base, _ := e.number(unix.NFTA_PAYLOAD_BASE)
	at, _ := e.number(unix.NFTA_PAYLOAD_OFFSET)
	n, _ := e.number(unix.NFTA_PAYLOAD_LEN)
	v.reg.store(d, nil, int(min(n, 64)))
	put := func(offset uint32, b []byte) {
		to, known := v.reg.load(d, int(min(n, 64)))
		for i, c := range b {
			if j := int(offset) + i - int(at); j >= 0 && j < len(to) {
				to[j], known[j] = c, true
			}
		}
	}
	p := v.packet
	switch {
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		if p.Port != 0 {
			put(dportAt, network(p.Port))
		}
	case base != unix.NFT_PAYLOAD_NETWORK_HEADER:
	case p.v6():
		put(6, v.protocol())
		put(8, p.Source.AsSlice())
		put(24, p.Destination.AsSlice())
	default:
		put(0, []byte{0x45})
		put(9, v.protocol())
		put(12, p.Source.AsSlice())
		put(16, p.Destination.AsSlice())
	}
}

// ct loads what connection tracking knows: the packet is the first of its connection,
// and no address of it was replaced.
func (v *verdicts) ct(e hostExpr) {
	d, loads := e.number(unix.NFTA_CT_DREG)
	if !loads {
		return
	}
	switch key, _ := e.number(unix.NFTA_CT_KEY); key {
	case unix.NFT_CT_STATE:
		v.reg.store(d, host(stateNew), 0)
	case unix.NFT_CT_STATUS:
		v.reg.store(d, host(0), 0)
	case unix.NFT_CT_DIRECTION:
		v.reg.store(d, host(0), 0)
	default:
		v.reg.store(d, nil, 16)
	}
}

// fib looks up a route as the kernel does for an expression of that name.
func (v *verdicts) fib(e hostExpr) {
	v.fleeting = true
	d, _ := e.number(unix.NFTA_FIB_DREG)
	result, _ := e.number(unix.NFTA_FIB_RESULT)
	flags, _ := e.number(unix.NFTA_FIB_FLAGS)
	v.reg.store(d, nil, 16)
	addr, back := v.packet.Destination, flags&unix.NFTA_FIB_F_SADDR != 0
	if back {
		addr, v.reversePath = v.packet.Source, v.reversePath || result != unix.NFT_FIB_RESULT_ADDRTYPE
	}
	if !addr.IsValid() || flags&unix.NFTA_FIB_F_MARK != 0 && !v.markKnown {
		return
	}
	q := netlink.RouteQuery{Destination: addr}
	if flags&unix.NFTA_FIB_F_MARK != 0 {
		q.Mark = v.mark
	}
	route, err := v.routing.rt.LookupRoute(q)
	if err != nil && noRouteType(err) == "" {
		return
	}
	by := route.Interface
	if err != nil || route.Type != unix.RTN_UNICAST || flags&unix.NFTA_FIB_F_IIF != 0 && by != v.in {
		by = 0
	}
	switch {
	case result == unix.NFT_FIB_RESULT_ADDRTYPE && err == nil:
		v.reg.store(d, host(uint32(route.Type)), 0)
	case result == unix.NFT_FIB_RESULT_OIF && flags&unix.NFTA_FIB_F_PRESENT != 0:
		v.reg.store(d, []byte{flag(by != 0), 0, 0, 0}, 0) // of one byte, the kernel clears the rest
	case result == unix.NFT_FIB_RESULT_OIF:
		v.reg.store(d, host(by), 0)
	}
}

// Flags of iptables' match rpfilter, and of conntrack.
const (
	rpfilterLoose     = 1
	rpfilterValidMark = 2
	rpfilterInvert    = 8
	conntrackState    = 1
	markInfoSize      = 9   // of xt_mark_mtinfo1 without padding
	conntrackFlagsAt  = 146 // match_flags, invert_flags and state_mask of xt_conntrack_mtinfo3
)

// xtMatch evaluates a match of iptables.
func (v *verdicts) xtMatch(e hostExpr) truth {
	info := e.attribute(unix.NFTA_MATCH_INFO)
	switch netlink.Text(e.attribute(unix.NFTA_MATCH_NAME)) {
	case "comment":
		return yes
	case "conntrack":
		if len(info) < conntrackFlagsAt+6 {
			return maybe
		}
		used, inverted := binary.NativeEndian.Uint16(info[conntrackFlagsAt:]), binary.NativeEndian.Uint16(info[conntrackFlagsAt+2:])
		states := binary.NativeEndian.Uint16(info[conntrackFlagsAt+4:])
		matches := states&stateNewXT != 0
		switch {
		case used&conntrackState == 0:
			return maybe
		case matches == (inverted&conntrackState != 0):
			return no
		case used == conntrackState:
			return yes
		}
	case "mark":
		if len(info) < markInfoSize || !v.markKnown {
			return maybe
		}
		mark, mask := binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:])
		return truthOf((v.mark&mask == mark) != (info[8] != 0))
	case "rpfilter":
		v.reversePath, v.fleeting = true, true
		if len(info) == 0 || !v.packet.Source.IsValid() || !v.markKnown {
			return maybe
		}
		q := netlink.RouteQuery{Destination: v.packet.Source}
		if info[0]&rpfilterValidMark != 0 {
			q.Mark = v.mark
		}
		route, err := v.routing.rt.LookupRoute(q)
		if err != nil && noRouteType(err) == "" {
			return maybe
		}
		good := err == nil && route.Type == unix.RTN_UNICAST && (info[0]&rpfilterLoose != 0 || route.Interface == v.in)
		return truthOf(good != (info[0]&rpfilterInvert != 0))
	}
	return maybe
}
