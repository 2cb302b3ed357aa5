package bind

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// host is a bind in a network namespace of its own, at one end of a veth pair.
type host struct {
	*Bind
	fns  []conn.ReceiveFunc
	port uint16
	link netlink.Link
	ns   netns.NsHandle
}

// hosts returns two hosts: one at 10.9.0.1 and fd09::1, one at 10.9.0.2 and fd09::2.
func hosts(t *testing.T, mtu int) (a, b *host) {
	t.Helper()
	one := enter(t)
	a, b = &host{Bind: New(nil)}, &host{Bind: New(nil)}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "one", MTU: mtu}, PeerName: "two", PeerMTU: uint32(mtu)}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	peer, err := netlink.LinkByName("two")
	if err != nil {
		t.Fatal(err)
	}
	two := enter(t)
	if err := netns.Set(one); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsFd(peer, int(two)); err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(two); err != nil {
		t.Fatal(err)
	}
	a.ns, b.ns = one, two
	b.start(t, "two", "10.9.0.2/24", "fd09::2/64")
	if err := netns.Set(one); err != nil {
		t.Fatal(err)
	}
	a.start(t, "one", "10.9.0.1/24", "fd09::1/64")
	for i, to := range b.paths() { // waits until the link carries packets
		move(t, a, parse(t, a, to), b.fns[i], datagrams(1))
	}
	return a, b
}

func (h *host) start(t *testing.T, name string, addresses ...string) {
	t.Helper()
	var err error
	if h.link, err = netlink.LinkByName(name); err != nil {
		t.Fatal(err)
	}
	for _, s := range addresses {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		a.Flags = unix.IFA_F_NODAD
		if a.IP.To4() != nil {
			a.Flags = 0
		}
		if err := netlink.AddrAdd(h.link, a); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(h.link); err != nil {
		t.Fatal(err)
	}
	h.fns, h.port = open(t, h.Bind)
	// Later changes of the new link must not count as changes of routes.
	h.routes.close()
	h.routes = nil
}

// paths returns the addresses of the second host, in the order of its receive
// functions.
func (h *host) paths() []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), h.port),
		netip.AddrPortFrom(netip.MustParseAddr("fd09::2"), h.port),
	}
}

// move sends datagrams, compares what fn receives, and returns the endpoint of the
// last one.
func move(t *testing.T, from *host, ep conn.Endpoint, fn conn.ReceiveFunc, sent [][]byte) conn.Endpoint {
	t.Helper()
	if err := from.Send(sent, ep); err != nil {
		t.Fatalf("send to %s: %v", ep.DstToString(), err)
	}
	var last conn.Endpoint
	for in := newBatch(); len(sent) > 0; {
		in.receive(t, fn, func(d []byte, ep conn.Endpoint) {
			if !bytes.Equal(d, sent[0]) {
				t.Fatalf("from %s: %s, want %s", ep.DstToString(), brief(d), brief(sent[0]))
			}
			sent, last = sent[1:], ep
		})
	}
	return last
}

// Datagrams larger than the route's MTU arrive, and Fragmented returns the host.
// Smaller ones change nothing.
func TestUnderlayMTU(t *testing.T) {
	a, b := hosts(t, 1280)
	large := datagrams(slices.Repeat([]int{1452}, 40)...)
	small := datagrams(slices.Repeat([]int{1100}, 40)...)
	for i, to := range b.paths() {
		ep := parse(t, a, to)
		move(t, a, ep, b.fns[i], small)
		if got := a.Fragmented(); len(got) != i {
			t.Errorf("before: fragmented %v", got)
		}
		for range 2 {
			back := move(t, a, ep, b.fns[i], large)
			move(t, b, back, a.fns[i], large)
			if back.DstIP().String() != []string{"10.9.0.1", "fd09::1"}[i] || back.SrcIP() != to.Addr() {
				t.Errorf("from %s to %s", back.DstIP(), back.SrcIP())
			}
		}
		if got := a.Fragmented(); len(got) != i+1 || !slices.Contains(got, to.Addr()) {
			t.Errorf("after: fragmented %v", got)
		}
	}
	if !a.v4.Load().segment.Load() || !a.v6.Load().segment.Load() {
		t.Error("offload was given up")
	}
	a.generation.Add(1)
	if got := a.Fragmented(); len(got) != 0 {
		t.Errorf("after a change of routes: fragmented %v", got)
	}
}

// IPv4 datagrams carry no DF flag: neither small ones, nor those of the route's MTU,
// nor bursts. The flag is in the header that a raw socket receives.
func TestNoDontFragment(t *testing.T) {
	a, b := hosts(t, 1500)
	if got, err := option(a.v4.Load(), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER); err != nil || got != unix.IP_PMTUDISC_DONT {
		t.Errorf("IP_MTU_DISCOVER = %d, %v", got, err)
	}
	if err := netns.Set(b.ns); err != nil {
		t.Fatal(err)
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	if err := netns.Set(a.ns); err != nil {
		t.Fatal(err)
	}
	ep := parse(t, a, b.paths()[0])
	for _, sizes := range [][]int{{32}, {1400}, {1472}, slices.Repeat([]int{1400}, 20)} {
		move(t, a, ep, b.fns[0], datagrams(sizes...))
		buf, seen := make([]byte, 1<<16), 0
		for n, _, err := unix.Recvfrom(raw, buf, 0); err == nil; n, _, err = unix.Recvfrom(raw, buf, 0) {
			if seen++; n < 20 || buf[6]&0x40 != 0 {
				t.Errorf("%d datagrams of %d bytes: header %x", len(sizes), sizes[0], buf[:min(n, 20)])
			}
		}
		if seen == 0 {
			t.Errorf("%d datagrams of %d bytes: no packet was seen", len(sizes), sizes[0])
		}
	}
}

// Bursts cross a link, and the answers leave from the address they came to.
func TestBurstsCrossALink(t *testing.T) {
	a, b := hosts(t, 1500)
	sent := datagrams(append(slices.Repeat([]int{1452}, 100), 80, 80, 80, 1452, 1452, 700)...)
	for i, to := range b.paths() {
		for range 3 {
			back := move(t, a, parse(t, a, to), b.fns[i], sent)
			move(t, b, back, a.fns[i], sent)
			if back.SrcIP() != to.Addr() || back.(*endpoint).ifindex == 0 {
				t.Errorf("source %s by %d", back.SrcIP(), back.(*endpoint).ifindex)
			}
		}
	}
	if got := a.Fragmented(); len(got) != 0 {
		t.Errorf("fragmented %v", got)
	}
}

// The kernel refuses a source that the host no longer has, and it is dropped.
func TestSourceGone(t *testing.T) {
	a, b := hosts(t, 1500)
	for i, to := range b.paths() {
		ep := parse(t, a, to).(*endpoint)
		gone := []string{"10.9.0.77", "fd09::77"}[i]
		ep.setSource(netip.MustParseAddr(gone), uint32(a.link.Attrs().Index))
		move(t, a, ep, b.fns[i], datagrams(1000, 1000, 1000))
		if ep.SrcIP().IsValid() {
			t.Errorf("source %s is kept", ep.SrcIP())
		}
	}
}

// Send waits for a full socket.
func TestFullSocket(t *testing.T) {
	a, b := hosts(t, 1500)
	// Packets fill the socket's buffer as long as the neighbour is unknown. b does
	// not answer ARP.
	there, err := netlink.NewHandleAt(b.ns)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	to := b.paths()[0]
	neighbour := &netlink.Neigh{
		LinkIndex: a.link.Attrs().Index, IP: to.Addr().AsSlice(), HardwareAddr: b.link.Attrs().HardwareAddr, State: netlink.NUD_PERMANENT,
	}
	if err := errors.Join(there.LinkSetARPOff(b.link), netlink.NeighDel(neighbour)); err != nil {
		t.Fatal(err)
	}
	if err := setOption(a.v4.Load(), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
		t.Fatal(err)
	}
	full := 0
	send := a.kernel.send
	a.kernel.send = func(fd uintptr, msgs []mmsghdr) (int, syscall.Errno) {
		n, errno := send(fd, msgs)
		if errno == unix.EAGAIN {
			if full++; full == 1 {
				if err := netlink.NeighSet(neighbour); err != nil {
					t.Error(err)
				}
			}
		}
		return n, errno
	}
	var sizes []int
	for i := range 100 {
		sizes = append(sizes, 1000+i)
	}
	move(t, a, parse(t, a, to), b.fns[0], datagrams(sizes...))
	if full == 0 {
		t.Error("the socket was never full")
	}
}
