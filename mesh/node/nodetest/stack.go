package nodetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/net/ipv6"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/device/offload"
	"github.com/wirespan/wirespan/mesh/node"
)

var _ node.Stack = (*Stack)(nil)

// stackBuffer is how many packets wait for the tunnel.
const stackBuffer = 256

// Stack is the IP stack of a node: it answers ICMPv6 echo requests, and drops
// everything else. gVisor's stack can't take its place in a bubble of testing/synctest,
// where it would never come to rest. Use [NewStack].
type Stack struct {
	outbound chan []byte
	events   chan tun.Event
	closed   chan struct{}
	close    func()

	mu        sync.Mutex // guards what follows
	addresses []netip.Addr
	mtu       int
	ingress   netstack.Ingress
}

// NewStack returns a stack with one address.
func NewStack(address netip.Addr, mtu int) *Stack {
	s := &Stack{
		outbound: make(chan []byte, stackBuffer), events: make(chan tun.Event), closed: make(chan struct{}),
		addresses: []netip.Addr{address}, mtu: mtu,
	}
	s.close = sync.OnceFunc(func() {
		close(s.closed)
		close(s.events)
	})
	return s
}

// Read returns the next packet that goes into the tunnel.
func (s *Stack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case packet := <-s.outbound:
		sizes[0] = copy(bufs[0][offset:], packet)
		return 1, nil
	case <-s.closed:
		return 0, os.ErrClosed
	}
}

// Write takes packets from the tunnel.
func (s *Stack) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		if packet := b[offset:]; s.answers(packet) {
			_ = s.Inject(echoReply(packet)) // without room, the reply is lost
		}
	}
	return len(bufs), nil
}

// answers reports whether a packet is an echo request for this stack, and may come in.
func (s *Stack) answers(packet []byte) bool {
	if len(packet) < ipv6.HeaderLen+8 || packet[0]>>4 != 6 || packet[6] != protocolICMPv6 ||
		packet[ipv6.HeaderLen] != byte(ipv6.ICMPTypeEchoRequest) {
		return false
	}
	from, to := netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40]))
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.addresses, to) && (s.ingress == nil || s.ingress(from, to, protocolICMPv6, 0))
}

const protocolICMPv6 = 58

// echoReply returns the reply to an echo request.
func echoReply(request []byte) []byte {
	reply := slices.Clone(request)
	copy(reply[8:24], request[24:40])
	copy(reply[24:40], request[8:24])
	message := reply[ipv6.HeaderLen:]
	copy(message, []byte{byte(ipv6.ICMPTypeEchoReply), 0, 0, 0})
	pseudo := offload.Checksum(reply[8:ipv6.HeaderLen], uint64(len(message)+protocolICMPv6))
	binary.BigEndian.PutUint16(message[2:], ^offload.Fold(offload.Checksum(message, pseudo)))
	return reply
}

// Inject sends a packet into the tunnel.
func (s *Stack) Inject(packet []byte) error {
	select {
	case s.outbound <- slices.Clone(packet):
		return nil
	default:
		return errors.New("too many packets wait for the tunnel")
	}
}

// Configure sets MTU and addresses.
func (s *Stack) Configure(mtu int, addresses []netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mtu, s.addresses = mtu, nil
	for _, p := range addresses {
		s.addresses = append(s.addresses, p.Addr())
	}
	return nil
}

// Source returns the first address of the family of dst.
func (s *Stack) Source(dst netip.Addr) (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := firstOf(s.addresses, dst)
	if !ok {
		return netip.Addr{}, fmt.Errorf("no address to reach %s from", dst)
	}
	return a, nil
}

// SetIngress sets the filter; nil lets in everything. It knows no flows: every
// request is checked.
func (s *Stack) SetIngress(allows netstack.Ingress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ingress = allows
}

// MTU returns the MTU that was last set.
func (s *Stack) MTU() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mtu, nil
}

// Name returns "nodetest".
func (s *Stack) Name() (string, error) { return "nodetest", nil }

// File returns nil: there is no descriptor.
func (s *Stack) File() *os.File { return nil }

// Events returns a channel on which nothing is sent.
func (s *Stack) Events() <-chan tun.Event { return s.events }

// BatchSize returns 1.
func (s *Stack) BatchSize() int { return 1 }

// Close ends Read.
func (s *Stack) Close() error {
	s.close()
	return nil
}
