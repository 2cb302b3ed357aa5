package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// leakMarker is part of each message that scenarios send through the tunnel. A packet on
// the switch that contains it is a leak, whatever its addresses.
const leakMarker = "an inner packet that only the mesh may see"

// leakDetector reads every frame that nodes send to the switch, and counts those that
// should be inside the tunnel:
//
//   - packets to the cluster's /64, to a network of the mesh or to a node, unless they
//     are WireGuard's between nodes, or ICMP errors about those;
//   - packets from the /64 or from a network of the mesh;
//   - packets with the marker, and packets that it cannot parse.
//
// Neighbour discovery and multicast listener reports belong to the link and are no
// leaks. Discovery is on a host that is not a node, so that nothing else has to be
// exempt.
type leakDetector struct {
	*lab
	fd       int
	ports    map[int]string // node names by the index of the switch's interface
	nodes    []netip.Addr   // on the switch
	networks []netip.Prefix
	stopped  chan struct{}
	done     chan struct{}

	mu        sync.Mutex
	buf       []byte
	frames    int
	encrypted int
	errors    int // about encrypted datagrams
	leaks     map[leak]int
}

// leak identifies one kind of packet in the clear.
type leak struct {
	node     string
	protocol byte
	from, to netip.Addr
}

func (k leak) String() string {
	return fmt.Sprintf("%s: protocol %d, %s → %s", k.node, k.protocol, k.from, k.to)
}

// detectLeaks starts a detector. The networks are those of the mesh, including the
// cluster's /64.
func (l *lab) detectLeaks(networks []netip.Prefix, nodes ...*labNode) *leakDetector {
	l.Helper()
	d := &leakDetector{
		lab: l, networks: networks, ports: map[int]string{}, leaks: map[leak]int{}, buf: make([]byte, 1<<17),
		stopped: make(chan struct{}), done: make(chan struct{}),
	}
	for _, n := range nodes {
		d.nodes = append(d.nodes, netip.MustParseAddr(n.address), n.address6())
	}
	sw := &labHost{lab: l, name: "switch", ns: l.prefix + "switch"}
	err := sw.inside(func() (err error) {
		if d.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		for _, n := range nodes {
			port, err := interfaceIndex(d.fd, "to-"+n.name)
			if err != nil {
				return err
			}
			d.ports[port] = n.name
		}
		_ = unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		return unix.Bind(d.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL)})
	})
	if err != nil {
		l.Fatalf("capturing on the switch: %v", err)
	}
	go d.run()
	l.Cleanup(d.stop)
	return d
}

// address6 returns the host's IPv6 address on the switch.
func (h *labHost) address6() netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0x90, 15: netip.MustParseAddr(h.address).As4()[3]})
}

func (d *leakDetector) run() {
	defer close(d.done)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-d.stopped:
			return
		case <-poll.C:
			d.drain()
		}
	}
}

// stop ends the detector. It fails the test if the detector missed a frame.
func (d *leakDetector) stop() {
	close(d.stopped)
	<-d.done
	if st, err := unix.GetsockoptTpacketStats(d.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || st.Drops > 0 {
		d.Errorf("the leak detector has missed frames: %+v, %v", st, err)
	}
	_ = unix.Close(d.fd)
	d.Logf("the leak detector has read %d frames of nodes, %d of them encrypted, %d errors about those", d.frames, d.encrypted, d.errors)
}

// drain reads all frames that the kernel has captured.
func (d *leakDetector) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		n, from, err := unix.Recvfrom(d.fd, d.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if node, ok := d.ports[link.Ifindex]; ok {
			d.read(node, networkOrder(link.Protocol), d.buf[:n])
		}
	}
}

// read decides whether a frame without its Ethernet header is a leak.
func (d *leakDetector) read(node string, ethertype uint16, b []byte) {
	d.frames++
	if ethertype == unix.ETH_P_ARP {
		return
	}
	p, ok := parsePacket(b)
	k := leak{node, p.protocol, p.from.Addr(), p.to.Addr()}
	inNetworks := func(a netip.Addr) bool {
		return slices.ContainsFunc(d.networks, func(n netip.Prefix) bool { return n.Contains(a) })
	}
	switch {
	case !ok || ethertype != unix.ETH_P_IP && ethertype != unix.ETH_P_IPV6:
		k.protocol = byte(ethertype) // cannot be parsed, so it counts
	case bytes.Contains(b, []byte(leakMarker)), inNetworks(k.to), inNetworks(k.from):
	case !slices.Contains(d.nodes, k.to) || isNeighbourDiscovery(&p):
		return
	case isWireGuard(&p):
		d.encrypted++
		return
	case isErrorAboutWireGuard(&p):
		d.errors++
		return
	}
	d.leaks[k]++
}

func isNeighbourDiscovery(p *sniffed) bool {
	return p.protocol == unix.IPPROTO_ICMPV6 && len(p.payload) > 0 && 133 <= p.payload[0] && p.payload[0] <= 137
}

// isWireGuard reports whether a packet has the port and the form of WireGuard. An empty
// datagram counts: it opens a NAT.
func isWireGuard(p *sniffed) bool {
	if p.protocol != unix.IPPROTO_UDP || p.from.Port() != wirePort || p.to.Port() != wirePort || len(p.payload) < 8 {
		return false
	}
	switch message := p.payload[8:]; len(message) {
	case 0:
		return true
	case 1, 2, 3:
		return false
	default:
		typ := binary.LittleEndian.Uint32(message)
		return 1 <= typ && typ <= 4
	}
}

// isErrorAboutWireGuard reports whether a packet is an ICMP error that its receiver
// gets about an encrypted datagram which it sent itself. A kernel sends one for each
// datagram that arrives while no agent has the port. It quotes the outer headers and
// ciphertext, and goes to the underlay address of a peer: in the clear, if the node
// had no route through the tunnel to that address when its agent stopped.
func isErrorAboutWireGuard(p *sniffed) bool {
	if len(p.payload) < 8 {
		return false
	}
	switch typ := p.payload[0]; p.protocol {
	case unix.IPPROTO_ICMP:
		if typ != 3 && typ != 11 && typ != 12 { // unreachable, time exceeded, parameter problem
			return false
		}
	case unix.IPPROTO_ICMPV6:
		if typ < 1 || typ > 4 { // those and packet too big
			return false
		}
	default:
		return false
	}
	quoted, ok := parsePacket(p.payload[8:])
	return ok && quoted.from.Addr() == p.to.Addr() && quoted.to.Addr() == p.from.Addr() && isWireGuard(&quoted)
}

// take returns the leaks since the last call.
func (d *leakDetector) take() map[leak]int {
	d.drain()
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := d.leaks
	d.leaks = map[leak]int{}
	return seen
}

// clean fails the test if there was a leak since the last call of take or clean.
func (d *leakDetector) clean(when string) {
	d.Helper()
	if seen := d.take(); len(seen) > 0 {
		d.Errorf("%s, %d packets left in the clear:\n%s", when, total(seen), listLeaks(seen))
	}
}

func total(leaks map[leak]int) (n int) {
	for _, times := range leaks {
		n += times
	}
	return n
}

func listLeaks(leaks map[leak]int) string {
	var lines []string
	for k := range maps.Keys(leaks) {
		lines = append(lines, fmt.Sprintf("%6d × %s", leaks[k], k))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
