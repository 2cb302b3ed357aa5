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

// Ingress says whether a packet that belongs to no known flow may come in. The
// port is the destination's, and zero for a protocol that has none. It is called
// by several goroutines at once.
type Ingress func(source, destination netip.Addr, protocol uint8, port uint16) bool

// SetIngress sets what may come in from the tunnel; nil, as in the beginning,
// is everything. It judges new flows. Those that are known go on, whatever
// the rules have become:
//
//   - TCP connections of the stack, and connected UDP sockets;
//   - UDP and echoes for as long as Linux' connection tracking would know them
//     after a packet that this node sent, if a filter was set then;
//   - ICMP errors that quote a packet which this node sent in a known flow.
//
// What could only come within a flow, and doesn't, is refused: other ICMP errors,
// echo replies, ends of connections, and packets that are not sound.
//
// What is refused is dropped silently, and counted.
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

// Refused is how many packets SetIngress' rules have kept out.
func (n *Netstack) Refused() uint64 { return n.refused.Load() }

// ingress is a stateful filter between tunnel and stack.
type ingress struct {
	allows Ingress
	flows  *flows
	stack  *stack.Stack
}

// learn takes note of packets that go into the tunnel, at an offset.
func (f *ingress) learn(bufs [][]byte, sizes []int, offset int) {
	now := f.flows.now()
	for i, buf := range bufs {
		h, ok := parseHeaders(buf[offset:][:sizes[i]])
		// The stack knows its TCP connections itself, until it resets them.
		if !ok || h.later || !h.complete() || h.protocol == protocolTCP && h.flags()&header.TCPFlagRst == 0 {
			continue
		}
		if k, ok := h.key(true); ok {
			f.flows.sent(&k, now)
		}
	}
}

// admitsRun says whether a run of packets may come in. Those of one run are of
// one flow and none of them opens it, so the first speaks for all.
func (f *ingress) admitsRun(bufs [][]byte, offset int, run *offload.Run, now time.Duration) bool {
	first := bufs[run.Packets[0]]
	return f.admits(first[min(offset, len(first)):], now)
}

// admits says whether a packet may come in.
//
// Of fragments, the first is judged like a packet, and must hold all headers.
// The others always may: the stack drops them if they are without a first one,
// or overlap it.
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
	switch f.belongs(&h, now) {
	case toFlow:
		return true
	case toNothing:
		return false
	}
	source, destination := h.addresses()
	_, port := h.ports()
	return f.allows(source, destination, h.protocol, port)
}

// belonging is what a packet belongs to, in nftables' terms: its ct state.
type belonging int

const (
	toNew     belonging = iota // new, or untracked: the rules decide
	toFlow                     // established, or related
	toNothing                  // invalid: it could only come within a flow
)

func (f *ingress) belongs(h *headers, now time.Duration) belonging {
	k, flow := h.key(false)
	switch {
	case h.protocol == protocolTCP:
		return f.tcpBelongs(h, &k, now)
	case flow && f.flows.received(&k, now), h.protocol == protocolUDP && f.connected(h, false):
		return toFlow
	case !h.icmp():
		return toNew
	}
	// The node that sent what is quoted is the one that is told.
	if q, ok := h.quoted(); ok && bytes.Equal(q.source, h.destination) && f.wasSent(&q, now) {
		return toFlow
	}
	if h.begins() {
		return toNew
	}
	return toNothing
}

// tcpBelongs is belongs for TCP. A packet that opens a connection belongs to a
// known one only while this node opens that: in any other state the stack might
// hand it on to a listener, once the old connection has ended.
func (f *ingress) tcpBelongs(h *headers, k *key, now time.Duration) belonging {
	const kinds = header.TCPFlagSyn | header.TCPFlagAck | header.TCPFlagFin | header.TCPFlagRst
	flags := h.flags()
	opens := flags&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) == header.TCPFlagSyn
	state := f.tcpState(h, false)
	switch {
	case state == tcp.StateConnecting || state == tcp.StateSynSent:
		return toFlow
	case !opens && (state != 0 || f.flows.received(k, now)):
		return toFlow
	case flags&kinds == header.TCPFlagSyn, flags&kinds == header.TCPFlagAck:
		return toNew // an acknowledgement: of a connection that began unseen
	}
	return toNothing
}

// wasSent says whether this node sent, in a known flow, a packet of which no
// more is known than the first bytes of its transport header.
func (f *ingress) wasSent(q *headers, now time.Duration) bool {
	switch {
	case q.protocol == protocolTCP && f.tcpState(q, true) != 0:
		return true
	case q.protocol == protocolUDP && f.connected(q, true):
		return true
	}
	k, ok := q.key(true)
	return ok && f.flows.known(&k, now)
}

// tcpState is the state of the TCP connection that a packet belongs to, or zero.
func (f *ingress) tcpState(h *headers, outbound bool) tcp.EndpointState {
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

// connected says whether a packet belongs to a connected UDP socket.
func (f *ingress) connected(h *headers, outbound bool) bool {
	e, ok := f.endpoint(h, header.UDPProtocolNumber, outbound).(interface{ State() uint32 })
	return ok && e.State() == uint32(transport.DatagramEndpointStateConnected)
}

// endpoint is the stack's for a TCP or UDP packet, and may be one for packets
// from anywhere.
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
