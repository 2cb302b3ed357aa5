package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// sniffer captures selected packets on a link of a host until it is stopped.
type sniffer struct {
	*labHost
	fd       int
	keep     func(*sniffed) bool
	stopping atomic.Bool
	done     chan struct{}

	mu      sync.Mutex
	packets []sniffed
}

// sniffed is an IP packet. A packet that is segmented later (TSO) counts as one.
type sniffed struct {
	out      bool           // the host sent it
	from, to netip.AddrPort // port 0 if the protocol has no ports
	protocol byte
	length   int // of the whole packet, with the IP header
	// keepWhole is the DF flag of IPv4: routers must not fragment the packet.
	keepWhole bool
	payload   []byte // of the IP packet; it may be cut
}

// sniff starts a capture. It captures every packet that is sent after sniff returns.
func (h *labHost) sniff(link string, keep func(*sniffed) bool) *sniffer {
	h.Helper()
	s := &sniffer{labHost: h, keep: keep, done: make(chan struct{})}
	err := h.inside(func() (err error) {
		s.fd, err = packetSocket(link)
		return err
	})
	if err != nil {
		h.Fatalf("capturing on %s of %s: %v", link, h.name, err)
	}
	go s.run()
	h.Cleanup(func() { s.stop() })
	return s
}

// packetSocket returns a socket that receives the packets of a link, from the network
// header on.
func packetSocket(link string) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	l, err := interfaceIndex(fd, link)
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: l})
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func interfaceIndex(fd int, name string) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
	}
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return int(ifr.Uint32()), nil
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (s *sniffer) run() {
	defer close(s.done)
	for buf := make([]byte, 1<<17); ; {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN) && s.stopping.Load():
			return
		case err != nil:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, 50)
			continue
		}
		p, ok := parsePacket(buf[:n])
		if link, is := from.(*unix.SockaddrLinklayer); !ok || !is {
			continue
		} else {
			p.out = link.Pkttype == unix.PACKET_OUTGOING
		}
		if s.keep(&p) {
			p.payload = slices.Clone(p.payload[:min(len(p.payload), 256)])
			s.mu.Lock()
			s.packets = append(s.packets, p)
			s.mu.Unlock()
		}
	}
}

// seen returns the captured packets for which is reports true.
func (s *sniffer) seen(is func(*sniffed) bool) (out []sniffed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.packets {
		if is(&s.packets[i]) {
			out = append(out, s.packets[i])
		}
	}
	return out
}

// stop ends the capture and returns all captured packets.
func (s *sniffer) stop() []sniffed {
	s.Helper()
	if !s.stopping.Swap(true) {
		<-s.done
		if st, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || st.Drops > 0 {
			s.Errorf("the capture on %s is incomplete: %+v, %v", s.name, st, err)
		}
		_ = unix.Close(s.fd)
	}
	return s.packets
}

// parsePacket parses an IP packet. It does not interpret IPv6 extension headers.
func parsePacket(b []byte) (p sniffed, ok bool) {
	var from, to netip.Addr
	switch {
	case len(b) >= 20 && b[0]>>4 == 4 && len(b) >= int(b[0]&15)*4:
		from, to = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		p.protocol, p.payload = b[9], b[int(b[0]&15)*4:]
		p.keepWhole = b[6]&0x40 != 0
		p.length = len(b)
	case len(b) >= 40 && b[0]>>4 == 6:
		from, to = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		p.protocol, p.payload = b[6], b[40:]
		p.length = len(b)
	default:
		return p, false
	}
	p.from, p.to = netip.AddrPortFrom(from, 0), netip.AddrPortFrom(to, 0)
	if (p.protocol == unix.IPPROTO_TCP || p.protocol == unix.IPPROTO_UDP) && len(p.payload) >= 4 {
		p.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(p.payload))
		p.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(p.payload[2:]))
	}
	return p, true
}

func (p *sniffed) String() string {
	return fmt.Sprintf("protocol %d %s → %s, %d bytes, out %t", p.protocol, p.from, p.to, p.length, p.out)
}

func (p *sniffed) isPing() bool {
	return len(p.payload) > 0 && (p.protocol == unix.IPPROTO_ICMP && (p.payload[0] == 8 || p.payload[0] == 0) ||
		p.protocol == unix.IPPROTO_ICMPV6 && (p.payload[0] == 128 || p.payload[0] == 129))
}

// isSTUN reports whether a UDP packet has STUN's magic cookie.
func (p *sniffed) isSTUN() bool {
	return p.protocol == unix.IPPROTO_UDP && len(p.payload) >= 16 && binary.BigEndian.Uint32(p.payload[12:]) == 0x2112a442
}

// tooBig returns the MTU in an ICMP error about a packet that is too big, or 0.
func (p *sniffed) tooBig() int {
	switch {
	case len(p.payload) < 8:
	case p.protocol == unix.IPPROTO_ICMP && p.payload[0] == 3 && p.payload[1] == 4:
		return int(binary.BigEndian.Uint16(p.payload[6:]))
	case p.protocol == unix.IPPROTO_ICMPV6 && p.payload[0] == 2:
		return int(binary.BigEndian.Uint32(p.payload[4:]))
	}
	return 0
}

// synMSS returns the maximum segment size in a SYN or SYN-ACK, or 0 for another packet.
func (p *sniffed) synMSS() int {
	if p.protocol != unix.IPPROTO_TCP || len(p.payload) < 20 || p.payload[13]&2 == 0 {
		return 0
	}
	options := p.payload[20:min(len(p.payload), int(p.payload[12]>>4)*4)]
	for len(options) >= 2 {
		switch {
		case options[0] == 1:
			options = options[1:]
		case options[0] == 2 && len(options) >= 4:
			return int(binary.BigEndian.Uint16(options[2:]))
		case options[1] < 2 || int(options[1]) > len(options):
			return 0
		default:
			options = options[options[1]:]
		}
	}
	return 0
}
