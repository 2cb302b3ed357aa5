package netstack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Protocol numbers.
const (
	protocolTCP    = uint8(header.TCPProtocolNumber)
	protocolUDP    = uint8(header.UDPProtocolNumber)
	protocolICMP   = uint8(header.ICMPv4ProtocolNumber)
	protocolICMPv6 = uint8(header.ICMPv6ProtocolNumber)
)

// maxHeaders is how many headers of an IPv6 packet the filter parses in search of
// the transport header, including the latter.
const maxHeaders = 8

// headers are the parts of a packet that the filter looks at. They are those that the
// stack will find: a packet that filter and stack could read differently is not
// parsed.
type headers struct {
	ipv6                bool
	later               bool // a fragment other than the first: there is no transport header
	protocol            uint8
	source, destination []byte
	transport           []byte // from the transport header to the end
}

// parseHeaders parses the headers in front of the transport header. The packet may be
// truncated, as packets are that ICMP errors quote.
func parseHeaders(packet []byte) (h headers, ok bool) {
	if len(packet) == 0 {
		return h, false
	}
	switch packet[0] >> 4 {
	case 4:
		return parseIPv4(packet)
	case 6:
		return parseIPv6(packet)
	}
	return h, false
}

func parseIPv4(packet []byte) (h headers, ok bool) {
	if len(packet) < header.IPv4MinimumSize {
		return h, false
	}
	const fragmentOffset = 0x1fff
	size := int(packet[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(packet[2:]))
	if size < header.IPv4MinimumSize || size > total || size > len(packet) {
		return h, false
	}
	return headers{
		later:    binary.BigEndian.Uint16(packet[6:])&fragmentOffset != 0,
		protocol: packet[9],
		source:   packet[12:16], destination: packet[16:20],
		transport: packet[size:min(total, len(packet))],
	}, true
}

func parseIPv6(packet []byte) (h headers, ok bool) {
	if len(packet) < header.IPv6MinimumSize {
		return h, false
	}
	end := header.IPv6MinimumSize + int(binary.BigEndian.Uint16(packet[4:]))
	h = headers{
		ipv6: true, protocol: packet[6],
		source: packet[8:24], destination: packet[24:40],
		transport: packet[header.IPv6MinimumSize:min(end, len(packet))],
	}
	fragmented := false
	for range maxHeaders {
		size := 0
		switch header.IPv6ExtensionHeaderIdentifier(h.protocol) {
		case header.IPv6HopByHopOptionsExtHdrIdentifier, header.IPv6RoutingExtHdrIdentifier, header.IPv6DestinationOptionsExtHdrIdentifier:
			if len(h.transport) > 1 {
				size = 8 + 8*int(h.transport[1])
			}
		case header.IPv6FragmentExtHdrIdentifier:
			size = header.IPv6FragmentExtHdrLength
			if fragmented || len(h.transport) < size {
				return h, false
			}
			fragmented = true
			h.later = binary.BigEndian.Uint16(h.transport[2:])>>3 != 0
		case header.IPv6ExperimentExtHdrIdentifier:
			return h, false // the stack, and only it, expects another header behind it
		default:
			return h, true
		}
		if size == 0 || len(h.transport) < size {
			return h, false
		}
		h.protocol, h.transport = h.transport[0], h.transport[size:]
		if h.later {
			return h, true
		}
	}
	return h, false
}

// complete reports whether the whole transport header is there, so that no part of it
// is in a later fragment.
func (h *headers) complete() bool {
	size := 0
	switch h.protocol {
	case protocolTCP:
		size = header.TCPMinimumSize
	case protocolUDP:
		size = header.UDPMinimumSize
	case protocolICMP, protocolICMPv6:
		size = header.ICMPv6MinimumSize
	}
	return len(h.transport) >= size
}

// addresses returns the packet's addresses.
func (h *headers) addresses() (source, destination netip.Addr) {
	if h.ipv6 {
		return netip.AddrFrom16([16]byte(h.source)), netip.AddrFrom16([16]byte(h.destination))
	}
	return netip.AddrFrom4([4]byte(h.source)), netip.AddrFrom4([4]byte(h.destination))
}

// ports returns the ports of a TCP or UDP packet, and 0 for others.
func (h *headers) ports() (source, destination uint16) {
	if h.protocol != protocolTCP && h.protocol != protocolUDP {
		return 0, 0
	}
	return binary.BigEndian.Uint16(h.transport), binary.BigEndian.Uint16(h.transport[2:])
}

// flags returns the flags of a TCP packet.
func (h *headers) flags() header.TCPFlags {
	return header.TCPFlags(h.transport[header.TCPFlagsOffset])
}

// icmp reports whether the protocol is the ICMP of the packet's IP version.
func (h *headers) icmp() bool {
	return h.ipv6 && h.protocol == protocolICMPv6 || !h.ipv6 && h.protocol == protocolICMP
}

// startsFlow reports whether an ICMP packet may come without an earlier one: Linux'
// connection tracking takes it as new, or does not track it.
func (h *headers) startsFlow() bool {
	const addressMaskRequest, nodeInformationQuery = 17, 139
	kind := h.transport[0]
	if !h.ipv6 {
		switch header.ICMPv4Type(kind) {
		case header.ICMPv4Echo, header.ICMPv4Timestamp, header.ICMPv4InfoRequest, addressMaskRequest:
			return true
		}
		return false
	}
	switch header.ICMPv6Type(kind) {
	case header.ICMPv6EchoRequest, nodeInformationQuery,
		header.ICMPv6MulticastListenerQuery, header.ICMPv6MulticastListenerReport, header.ICMPv6MulticastListenerDone, header.ICMPv6MulticastListenerV2Report,
		header.ICMPv6RouterSolicit, header.ICMPv6RouterAdvert, header.ICMPv6NeighborSolicit, header.ICMPv6NeighborAdvert:
		return true
	}
	return false
}

// echo reports whether the packet is an echo request or an echo reply.
func (h *headers) echo() (request, reply bool) {
	kind := h.transport[0]
	switch {
	case !h.icmp():
		return false, false
	case h.ipv6:
		return kind == uint8(header.ICMPv6EchoRequest), kind == uint8(header.ICMPv6EchoReply)
	default:
		return kind == uint8(header.ICMPv4Echo), kind == uint8(header.ICMPv4EchoReply)
	}
}

// quoted returns the packet that an ICMP error quotes.
func (h *headers) quoted() (q headers, ok bool) {
	kind := h.transport[0]
	if h.ipv6 {
		switch header.ICMPv6Type(kind) {
		case header.ICMPv6DstUnreachable, header.ICMPv6PacketTooBig, header.ICMPv6TimeExceeded, header.ICMPv6ParamProblem:
			q, ok = parseHeaders(h.transport[header.ICMPv6MinimumSize:])
		}
	} else {
		switch header.ICMPv4Type(kind) {
		case header.ICMPv4DstUnreachable, header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
			q, ok = parseHeaders(h.transport[header.ICMPv4MinimumSize:])
		}
	}
	// Routers quote at least eight bytes behind the IP header.
	return q, ok && !q.later && len(q.transport) >= 8
}

// key returns the key of the flow of a TCP or UDP packet or of an echo. It is the same
// in both directions. Packets of no other kind belong to a flow.
func (h *headers) key(outbound bool) (k key, ok bool) {
	local, remote := h.destination, h.source
	if outbound {
		local, remote = remote, local
	}
	copy(k[keyLocal:], local)
	copy(k[keyRemote:], remote)
	k[keyProtocol] = h.protocol
	if h.ipv6 {
		k[keyKind] = 1
	}
	switch h.protocol {
	case protocolTCP, protocolUDP:
		local, remote := h.transport[2:4], h.transport[:2]
		if outbound {
			local, remote = remote, local
		}
		copy(k[keyPorts:], local)
		copy(k[keyPorts+2:], remote)
	case protocolICMP, protocolICMPv6:
		request, reply := h.echo()
		if !request && !reply {
			return k, false
		}
		copy(k[keyPorts:], h.transport[4:6]) // the echo's identifier
		if request == outbound {
			k[keyKind] |= 2 // this node sent the request
		}
	default:
		return k, false
	}
	return k, true
}
