package netstack

import (
	"bytes"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/wirespan/wirespan/device/offload"
)

// Ingress reports whether a packet that belongs to no known flow may come in. The port
// is the destination port, and 0 for a protocol without ports. It is called
// concurrently.
type Ingress = func(source, destination netip.Addr, protocol uint8, port uint16) bool

// SetIngress sets the rules for packets from the tunnel. Without rules (nil, as in the
// beginning), all packets may come in. The rules decide about new flows. Packets of
// known flows come in whatever the rules are:
//
//   - of TCP connections of the stack, and of connected UDP sockets;
//   - UDP and echoes, as long as Linux' connection tracking would know them after a
//     packet that this node sent, if a filter was set then;
//   - ICMP errors that quote a packet which this node sent in a known flow.
//
// Packets that are only valid within a flow, but belong to none, are refused: other
// ICMP errors, echo replies, ends of connections, malformed packets.
//
// Refused packets are dropped silently, and counted.
func (n *Netstack) SetIngress(allows Ingress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if allows == nil {
		n.ingress.Store(nil)
		return
	}
	if n.flows == nil {
		n.flows = newFlows()
	}
	n.ingress.Store(&ingress{allows: allows, flows: n.flows, stack: n.stack})
}

// Refused returns how many packets SetIngress' rules have refused.
func (n *Netstack) Refused() uint64 { return n.refused.Load() }

// ingress is a stateful filter between tunnel and stack.
type ingress struct {
	allows Ingress
	flows  *flows
	stack  *stack.Stack
}

// learn remembers the flows of packets that go into the tunnel. They begin at offset
// in their buffers.
func (f *ingress) learn(bufs [][]byte, sizes []int, offset int) {
	now := f.flows.now()
	for i, buf := range bufs {
		h, ok := parseHeaders(buf[offset:][:sizes[i]])
		// The stack itself knows its TCP connections, until it resets them.
		if !ok || h.later || !h.complete() || h.protocol == protocolTCP && h.flags()&header.TCPFlagRst == 0 {
			continue
		}
		if k, ok := h.key(true); ok {
			f.flows.sent(&k, now)
		}
	}
}

// admitsRun reports whether a run of packets may come in. Its packets are of one flow
// and none of them opens it, so the first decides for all.
func (f *ingress) admitsRun(bufs [][]byte, offset int, run *offload.Run, now time.Duration) bool {
	first := bufs[run.Packets[0]]
	return f.admits(first[min(offset, len(first)):], now)
}

// admits reports whether a packet may come in.
//
// The first fragment of a packet is treated like the packet, and must hold all
// headers. The other fragments are admitted: the stack drops them if there is no
// first one, or if they overlap it.
func (f *ingress) admits(packet []byte, now time.Duration) bool {
	h, ok := parseHeaders(packet)
	if !ok {
		return false
	}
	if h.later {
		return true
	}
	if !h.complete() {
		return false
	}
	switch f.state(&h, now) {
	case stateEstablished:
		return true
	case stateInvalid:
		return false
	}
	source, destination := h.addresses()
	_, port := h.ports()
	return f.allows(source, destination, h.protocol, port)
}

// ctState is the state of a packet in connection tracking, as nftables' "ct state".
type ctState int

const (
	stateNew         ctState = iota // new or untracked: the rules decide
	stateEstablished                // established or related
	stateInvalid                    // only valid within a flow, but belongs to none
)

func (f *ingress) state(h *headers, now time.Duration) ctState {
	k, flow := h.key(false)
	switch {
	case h.protocol == protocolTCP:
		return f.stateOfTCP(h, &k, now)
	case flow && f.flows.received(&k, now), h.protocol == protocolUDP && f.connected(h, false):
		return stateEstablished
	case !h.icmp():
		return stateNew
	}
	// An ICMP error goes to the sender of the packet that it quotes.
	if q, ok := h.quoted(); ok && bytes.Equal(q.source, h.destination) && f.wasSent(&q, now) {
		return stateEstablished
	}
	if h.startsFlow() {
		return stateNew
	}
	return stateInvalid
}

// stateOfTCP is state for TCP. A packet that opens a connection belongs to a known one
// only while this node is opening that. In any other state the stack might pass it to
// a listener, once the old connection has ended.
func (f *ingress) stateOfTCP(h *headers, k *key, now time.Duration) ctState {
	const kinds = header.TCPFlagSyn | header.TCPFlagAck | header.TCPFlagFin | header.TCPFlagRst
	flags := h.flags()
	opens := flags&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) == header.TCPFlagSyn
	connection := f.connectionState(h, false)
	switch {
	case connection == tcp.StateConnecting || connection == tcp.StateSynSent:
		return stateEstablished
	case !opens && (connection != 0 || f.flows.received(k, now)):
		return stateEstablished
	case flags&kinds == header.TCPFlagSyn, flags&kinds == header.TCPFlagAck:
		return stateNew // an acknowledgement may be of a connection that began unseen
	}
	return stateInvalid
}

// wasSent reports whether this node sent a packet in a known flow. Of the packet, only
// the first bytes of the transport header need to be known.
func (f *ingress) wasSent(q *headers, now time.Duration) bool {
	switch {
	case q.protocol == protocolTCP && f.connectionState(q, true) != 0:
		return true
	case q.protocol == protocolUDP && f.connected(q, true):
		return true
	}
	k, ok := q.key(true)
	return ok && f.flows.known(&k, now)
}

// connectionState returns the state of the TCP connection to which a packet belongs; 0
// if there is none.
func (f *ingress) connectionState(h *headers, outbound bool) tcp.EndpointState {
	e, ok := f.endpoint(h, tcp.ProtocolNumber, outbound).(*tcp.Endpoint)
	if !ok {
		return 0
	}
	switch state := e.EndpointState(); state {
	case tcp.StateInitial, tcp.StateBound, tcp.StateListen, tcp.StateClose, tcp.StateError:
		return 0
	default:
		return state
	}
}

// connected reports whether a packet belongs to a connected UDP socket.
func (f *ingress) connected(h *headers, outbound bool) bool {
	e, ok := f.endpoint(h, header.UDPProtocolNumber, outbound).(interface{ State() uint32 })
	return ok && e.State() == uint32(transport.DatagramEndpointStateConnected)
}

// endpoint returns the stack's endpoint for a TCP or UDP packet. It may be one that
// takes packets from anywhere.
func (f *ingress) endpoint(h *headers, protocol tcpip.TransportProtocolNumber, outbound bool) stack.TransportEndpoint {
	network := ipv4.ProtocolNumber
	if h.ipv6 {
		network = ipv6.ProtocolNumber
	}
	var id stack.TransportEndpointID
	id.RemoteAddress, id.LocalAddress = tcpip.AddrFromSlice(h.source), tcpip.AddrFromSlice(h.destination)
	id.RemotePort, id.LocalPort = h.ports()
	if outbound {
		id.RemoteAddress, id.LocalAddress = id.LocalAddress, id.RemoteAddress
		id.RemotePort, id.LocalPort = id.LocalPort, id.RemotePort
	}
	return f.stack.FindTransportEndpoint(network, protocol, id, nic)
}
