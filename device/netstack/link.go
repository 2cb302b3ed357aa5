package netstack

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wirespan/wirespan/device/offload"
)

// link is the stack's link endpoint: a network card with TCP segmentation offload and
// a queue. It is its own queueing discipline, which saves the stack a list per packet.
type link struct {
	*queue
	mtu        atomic.Uint32
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

func newLink(mtu int) *link {
	l := &link{queue: newQueue()}
	l.mtu.Store(uint32(mtu))
	return l
}

// deliver hands a packet from the tunnel to the stack. It takes over the reference to
// the packet.
func (l *link) deliver(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	if d := l.dispatcher.Load(); d != nil {
		(*d).DeliverNetworkPacket(protocol, pkt)
	}
	pkt.DecRef()
}

// WritePacket implements stack.QueueingDiscipline.
func (l *link) WritePacket(pkt *stack.PacketBuffer) tcpip.Error {
	if !l.push(pkt) {
		// UDP does not report this to its caller, and TCP sends again.
		return &tcpip.ErrNoBufferSpace{}
	}
	return nil
}

// WritePackets implements stack.LinkWriter.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range pkts.AsSlice() {
		if err := l.WritePacket(pkt); err != nil {
			return i, err
		}
	}
	return pkts.Len(), nil
}

// Close implements stack.LinkEndpoint and stack.QueueingDiscipline.
func (l *link) Close() { l.close() }

// Attach implements stack.LinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// IsAttached implements stack.LinkEndpoint.
func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// MTU implements stack.LinkEndpoint.
func (l *link) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (l *link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// Capabilities implements stack.LinkEndpoint. Received packets come out of an
// authenticated tunnel, so their checksums are not verified again. There is no such
// capability for sending: gVisor would fragment datagrams above the MTU without the
// checksum that IPv6 requires. (TCP leaves its checksum to segmentation in any case.)
func (*link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// GSOMaxSize implements stack.GSOEndpoint. It is as much as leaves in one burst of UDP
// once it is cut and encrypted. More would leave in two bursts, of which one is small
// and costs as much as the other (measured: 0.77 times the throughput).
func (l *link) GSOMaxSize() uint32 {
	const (
		burst    = offload.MaxPacket - header.IPv6MinimumSize - header.UDPMinimumSize
		segments = 64 // of one burst, a limit of the kernel
		overhead = 32 // header and authentication tag of a WireGuard message
	)
	mtu := l.MTU()
	// The stack subtracts the largest headers from this, so no segment is lost.
	return max(1, min(burst/(mtu+overhead), segments)) * (mtu - header.IPv6MinimumSize - header.TCPMinimumSize)
}

// SupportedGSO implements stack.GSOEndpoint.
func (*link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// The remaining methods of stack.LinkEndpoint. A link of bare IP packets has no
// addresses, no headers and no goroutines.

func (*link) MaxHeaderLength() uint16                 { return 0 }
func (*link) LinkAddress() tcpip.LinkAddress          { return "" }
func (*link) SetLinkAddress(tcpip.LinkAddress)        {}
func (*link) Wait()                                   {}
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (*link) AddHeader(*stack.PacketBuffer)           {}
func (*link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*link) SetOnCloseAction(func())                 {}
