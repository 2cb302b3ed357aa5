package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// interopCase describes a tunnel between wirespan and upstream.
type interopCase struct {
	outer6   bool
	mtu      int // of the tunnel
	underlay int // MTU around it
	offloads offloads
}

// offloads describes where the kernel's offloads are turned off.
type offloads struct {
	name            string
	wireOff, tunOff bool
	forwarding      bool // UDP GRO for sockets that have not asked for it
}

var offloadVariants = []offloads{
	{name: "on"},
	{name: "wire off", wireOff: true},
	{name: "tun off", tunOff: true},
	{name: "off", wireOff: true, tunOff: true},
	{name: "forwarding", forwarding: true},
}

func (c interopCase) String() string {
	outer := "IPv4"
	if c.outer6 {
		outer = "IPv6"
	}
	return fmt.Sprintf("over %s MTU %d of %d offloads %s", outer, c.mtu, c.underlay, c.offloads.name)
}

// interopCases returns all combinations with the given MTUs of the tunnel and the
// underlay, or half of them, with each variant at each MTU.
func interopCases(mtus ...[2]int) (cases []interopCase) {
	for o, outer6 := range []bool{false, true} {
		for m, mtu := range mtus {
			for v, variant := range offloadVariants {
				if longWaits || (o+m+v)%2 == 0 {
					cases = append(cases, interopCase{outer6, mtu[0], mtu[1], variant})
				}
			}
		}
	}
	return cases
}

// scenarioInterop checks that wirespan's TUN data plane and upstream's program carry
// everything unchanged that either of them sends.
func scenarioInterop(l *lab) {
	ours, upstream := l.wired("a", "b")
	ours.runTUN()
	upstream.runUpstream()
	l.interop(ours, upstream, interopCases([2]int{1280, 1500}, [2]int{1420, 1500}, [2]int{8920, 9000}, [2]int{1420, 1400}, [2]int{1420, 1280}))
}

// scenarioInteropNetstack is scenarioInterop with the netstack.
func scenarioInteropNetstack(l *lab) {
	upstream, ours := l.wired("a", "b")
	upstream.runUpstream()
	ours.runNetstack()
	l.interop(upstream, ours, interopCases([2]int{1420, 1500}, [2]int{1420, 1280}))
}

// interop runs all cases.
func (l *lab) interop(from, to *tunnelEnd, cases []interopCase) {
	l.Helper()
	for i, c := range cases {
		c.prepare(from)
		c.prepare(to)
		if i == 0 || cases[i-1].outer6 != c.outer6 {
			to.meet(from, from.outer(c.outer6)) // in this order, so that packets in flight belong to no session
			from.meet(to, to.outer(c.outer6))
			// One request after another until one is answered: crossed initiations can
			// delay the first handshake.
			from.mustExec("ping", "-c", "1", "-w", "25", to.inner)
		}
		if i == 0 {
			from.serve()
			to.serve()
		}
		if err := c.run(from, to); err != nil {
			l.Errorf("%s: %v", c, err)
		}
	}
}

// runUpstream runs wireguard-go, built from the module that wirespan uses.
func (e *tunnelEnd) runUpstream() {
	e.Helper()
	program := filepath.Join(e.dir, "wireguard-go")
	cmd := exec.Command("go", "build", "-o", program, "golang.zx2c4.com/wireguard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		e.Fatalf("building wireguard-go: %v\n%s", err, out)
	}
	e.upstream = true
	e.run(program, "-f", e.link)
}

// wired adds two hosts with a wire between them, and prepares an end on each.
//
//	a eth0 -------- eth0 b
//	10.90.0.1       10.90.0.2, fd90::1 …
func (l *lab) wired(left, right string) (a, b *tunnelEnd) {
	l.Helper()
	hosts := []*labHost{l.namespace(left), l.namespace(right)}
	l.must("ip", "-n", hosts[0].ns, "link", "add", "eth0", "mtu", "9000", "type", "veth", "peer", "name", "eth0", "mtu", "9000", "netns", hosts[1].ns)
	var ends []*tunnelEnd
	for i, h := range hosts {
		h.address = fmt.Sprintf("10.90.0.%d", i+1)
		h.ip("address add " + h.address + "/24 dev eth0")
		h.ip(fmt.Sprintf("address add fd90::%d/64 dev eth0 nodad", i+1))
		h.ip("link set eth0 up")
		ends = append(ends, h.tunnelEnd(i+1))
	}
	return ends[0], ends[1]
}

// prepare sets the MTUs and the offloads of an end.
func (c interopCase) prepare(e *tunnelEnd) {
	e.Helper()
	e.ip(fmt.Sprintf("link set eth0 mtu %d", c.underlay))
	e.features("eth0", !c.offloads.wireOff, switchable...)
	e.features("eth0", c.offloads.forwarding, "rx-udp-gro-forwarding")
	if !e.netstack {
		e.ip(fmt.Sprintf("link set %s mtu %d", e.link, c.mtu))
		e.features(e.link, !c.offloads.tunOff, switchable...)
	}
}

// switchable lists the offloads that cases turn on and off.
var switchable = []string{
	"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation",
	"tx-generic-segmentation", "rx-gro",
}

// features turns those offloads on or off that the link has and that can be changed.
func (h *labHost) features(link string, on bool, names ...string) {
	h.Helper()
	state := "off"
	if on {
		state = "on"
	}
	argv := []string{"ethtool", "-K", link}
	for line := range strings.Lines(h.mustExec("ethtool", "-k", link)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		if slices.Contains(names, name) && !strings.Contains(rest, "[fixed]") {
			argv = append(argv, name, state)
		}
	}
	if len(argv) > 3 {
		h.mustExec(argv...)
	}
}

// run sends streams and datagrams between the ends.
func (c interopCase) run(from, to *tunnelEnd) error {
	var err error
	for _, v6 := range []bool{false, true} {
		err = errors.Join(err, c.streams(from, to, v6))
		for _, pair := range [][2]*tunnelEnd{{from, to}, {to, from}} {
			// A netstack only answers. Echoes test both directions, too.
			if !pair[0].netstack && !(pair[0].upstream && c.upstreamStalls()) {
				err = errors.Join(err, c.datagrams(pair[0], pair[1], v6))
			}
		}
	}
	return errors.Join(err, c.outerIs(from), c.outerIs(to), from.proc.running(), to.proc.running())
}

// upstreamStalls reports whether upstream loses all packets that it sends several of at
// once. They are larger than the route allows, so the kernel refuses them together
// ("sendmmsg: message too long"), and upstream does not send them one by one. It reads
// several at once from a TUN interface with offloads.
func (c interopCase) upstreamStalls() bool {
	overhead := 60
	if c.outer6 {
		overhead = 80
	}
	return c.mtu+overhead > c.underlay && !c.offloads.tunOff
}

// interopBytes is the length of a TCP stream in one direction.
const interopBytes = 3 << 20

// streams sends a stream in each direction, and then in both at once.
func (c interopCase) streams(from, to *tunnelEnd, v6 bool) error {
	for seed, lengths := range [][2]uint64{{interopBytes, 0}, {0, interopBytes}, {interopBytes / 4, interopBytes / 4}} {
		if c.upstreamStalls() && (from.upstream && lengths[dialing] > 0 || to.upstream && lengths[accepting] > 0) {
			continue
		}
		conn, err := from.dial(from.Context(), "tcp", to.at(v6))
		if err != nil {
			return err
		}
		if err := (flow{Seed: uint64(seed), Lengths: lengths}).start(conn); err != nil {
			return err
		}
	}
	return nil
}

// datagrams sends datagrams of all sizes near a limit, and several of one size at once.
func (c interopCase) datagrams(from, to *tunnelEnd, v6 bool) error {
	dial := func() (*net.UDPConn, error) {
		conn, err := from.dial(from.Context(), "udp", to.at(v6))
		if err != nil {
			return nil, err
		}
		return conn.(*net.UDPConn), nil
	}
	largest := c.mtu - 28 // that fits in one packet
	if v6 {
		largest = c.mtu - 48
	}
	var sizes []int
	for size := range 40 {
		sizes = append(sizes, size)
	}
	for size := 50; size < largest-20; size += 97 {
		sizes = append(sizes, size)
	}
	for size := largest - 20; size <= largest+20; size++ {
		sizes = append(sizes, size)
	}
	sizes = append(sizes, 2*c.mtu, 5*c.mtu+1, 40_000)
	err := returnAll(dial, sizes)
	for _, size := range []int{100, 1200, largest} {
		err = errors.Join(err, returnTrain(dial, size, min(burst, burstBytes/size)))
	}
	if err != nil {
		return fmt.Errorf("%s to %s: %w", from.link, to.at(v6), err)
	}
	return nil
}

// outerIs returns an error unless the endpoint of the end's peer has the family of the
// case.
func (c interopCase) outerIs(e *tunnelEnd) error {
	out, err := e.exec("wg", "show", e.link, "endpoints")
	if err != nil {
		return err
	}
	_, at, _ := strings.Cut(strings.TrimSpace(out), "\t")
	endpoint, err := netip.ParseAddrPort(at)
	if err != nil {
		return fmt.Errorf("the peer of %s is at %q: %w", e.name, at, err)
	}
	if endpoint.Addr().Is6() != c.outer6 {
		return fmt.Errorf("the peer of %s is at %s, which is of the wrong family", e.name, endpoint)
	}
	return nil
}
