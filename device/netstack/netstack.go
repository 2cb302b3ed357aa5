package netstack

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/wirespan/wirespan/device/offload"
)

const nic tcpip.NICID = 1

// Config is the initial configuration of a stack.
type Config struct {
	Addresses []netip.Addr // the node's own
	MTU       int          // of the tunnel, bytes
}

// Netstack is a TCP/IP stack that is also a tun.Device. Use New.
type Netstack struct {
	stack      *stack.Stack
	link       *link
	events     chan tun.Event
	out        outbound                // used by Read
	coalescers sync.Pool               // of *offload.Coalescer, used by Write
	ingress    atomic.Pointer[ingress] // nil: no filter
	refused    atomic.Uint64

	mu        sync.Mutex // guards what follows and the stack's addresses
	addresses []netip.Addr
	flows     *flows // nil before the first filter
	closed    bool
}

// New starts a stack.
func New(c Config) (*Netstack, error) {
	n := &Netstack{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv6.NewProtocol, ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol6, icmp.NewProtocol4},
			HandleLocal:        true, // connections to itself stay inside
		}),
		link:       newLink(c.MTU),
		events:     make(chan tun.Event, 1),
		coalescers: sync.Pool{New: func() any { return new(offload.Coalescer) }},
	}
	err := n.prepare()
	for i := 0; err == nil && i < len(c.Addresses); i++ {
		err = n.addAddress(c.Addresses[i])
	}
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	return n, nil
}

func (n *Netstack) prepare() error {
	if err := tune(n.stack); err != nil {
		return err
	}
	if err := n.stack.CreateNICWithOptions(nic, n.link, stack.NICOptions{QDisc: n.link}); err != nil {
		return fmt.Errorf("create the stack's interface: %s", err)
	}
	n.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv6EmptySubnet, NIC: nic},
		{Destination: header.IPv4EmptySubnet, NIC: nic},
	})
	return nil
}

// Configure sets MTU and addresses while the stack runs. Prefix lengths have no effect:
// all other addresses are in the tunnel. Connections of an address that is removed
// break.
func (n *Netstack) Configure(mtu int, addresses []netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("configure the stack: %w", os.ErrClosed)
	}
	if n.link.MTU() != uint32(mtu) {
		if err := n.stack.SetNICMTU(nic, uint32(mtu)); err != nil {
			return fmt.Errorf("set MTU of the stack to %d: %s", mtu, err)
		}
		select {
		case n.events <- tun.EventMTUUpdate:
		default: // an event is waiting, and its receiver will read the new MTU
		}
	}
	return n.setAddresses(addresses)
}

func (n *Netstack) setAddresses(desired []netip.Prefix) error {
	missing := make(map[netip.Addr]bool, len(desired))
	for _, p := range desired {
		missing[p.Addr()] = true
	}
	kept := n.addresses[:0]
	for _, a := range n.addresses {
		if missing[a] {
			kept = append(kept, a)
			delete(missing, a)
			continue
		}
		if err := n.stack.RemoveAddress(nic, tcpip.AddrFromSlice(a.AsSlice())); err != nil {
			return fmt.Errorf("remove address %s from the stack: %s", a, err)
		}
	}
	n.addresses = kept
	for _, p := range desired {
		if !missing[p.Addr()] {
			continue
		}
		delete(missing, p.Addr())
		if err := n.addAddress(p.Addr()); err != nil {
			return err
		}
	}
	return nil
}

func (n *Netstack) addAddress(a netip.Addr) error {
	address := tcpip.ProtocolAddress{
		Protocol:          protocolOf(a),
		AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix(),
	}
	if err := n.stack.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("add address %s to the stack: %s", a, err)
	}
	n.addresses = append(n.addresses, a)
	return nil
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// Source returns the address from which this node sends to dst.
func (n *Netstack) Source(dst netip.Addr) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.addresses {
		if a.BitLen() == dst.BitLen() {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address to reach %s from: this node has none of its family", dst)
}

// File returns nil: there is no descriptor.
func (n *Netstack) File() *os.File { return nil }

// Name returns "netstack".
func (n *Netstack) Name() (string, error) { return "netstack", nil }

// MTU returns the MTU that was last set.
func (n *Netstack) MTU() (int, error) { return int(n.link.MTU()), nil }

// Events returns the channel of changes of the MTU.
func (n *Netstack) Events() <-chan tun.Event { return n.events }

// BatchSize returns how many packets one Read returns at most.
func (n *Netstack) BatchSize() int { return batchSize }

// Read returns packets that the stack sends into the tunnel. It waits for the first.
func (n *Netstack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	count, lost, err := n.out.read(n.link, bufs, sizes, offset)
	if f := n.ingress.Load(); f != nil {
		f.learn(bufs[:count], sizes, offset)
	}
	n.stack.Stats().DroppedPackets.IncrementBy(uint64(lost))
	return count, err
}

// Inject sends a packet into the tunnel as if the stack had sent it. It copies the
// packet.
func (n *Netstack) Inject(packet []byte) error {
	pkt := single(packet)
	defer pkt.DecRef()
	if !n.link.push(pkt) {
		return errors.New("inject packet into the stack's tunnel: the queue is full or closed")
	}
	return nil
}

// Close breaks all connections and returns when the stack has stopped.
func (n *Netstack) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	n.link.close()
	n.stack.Destroy()
	close(n.events)
	return nil
}
