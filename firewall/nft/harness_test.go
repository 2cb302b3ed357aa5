package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// namespace moves the test's thread to a new network namespace, which ends with
// the thread. Commands that the test starts run in it.
func namespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if testing.Short() {
		t.Skip("changes a kernel")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("make a network namespace:", err)
	}
	run(t, "ip", "link", "set", "lo", "up")
}

// tunnel adds an interface in place of the tunnel.
func tunnel(t testing.TB, name string) {
	t.Helper()
	run(t, "ip", "link", "add", name, "type", "veth", "peer", "peer-"+name)
	for _, end := range []string{name, "peer-" + name} { // the kernel would add addresses later
		run(t, "ip", "link", "set", end, "addrgenmode", "none", "up")
	}
}

func run(t testing.TB, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

func feed(t testing.TB, input string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(command, " "), err, out, input)
	}
}

func open(t testing.TB) *Firewall {
	t.Helper()
	f, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func apply(t testing.TB, f *Firewall, rs firewall.Ruleset) {
	t.Helper()
	if err := f.Apply(rs); err != nil {
		t.Fatal(err)
	}
}

func generation(t testing.TB) string {
	t.Helper()
	nl, err := netlink.OpenNftables()
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	g, err := nl.Generation()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(g)
}

const iface = "wstest0"

var numbers = firewall.Numbers{
	Table: "wirespan", EncryptedMark: 0x20, TunnelMark: 0x40, Mask: 0x60, RoutingTable: 180, RulePriority: 32500,
}

// policy returns a policy that uses every kind of expression but those for NAT.
func policy(networks ...string) firewall.Policy {
	p := firewall.Policy{
		Numbers: numbers, Interface: iface, MTU: 1420,
		Subnet:         netip.MustParsePrefix("fd12:3456:789a:bc02::/64"),
		ReturnByTunnel: true,
		Ingress: firewall.Ingress{Default: firewall.ActionBlock, Rules: []firewall.IngressRule{
			{Name: "web", Protocol: firewall.ProtocolTCP, Ports: []firewall.PortRange{{From: 80, To: 80}, {From: 8000, To: 8080}}, Sources: prefixes("10.1.0.0/16", "fd00::/9")},
			{Name: "ping", Protocol: firewall.ProtocolICMP, Sources: prefixes("0.0.0.0/0")},
			{Name: "ping6", Protocol: firewall.ProtocolICMPv6, Sources: prefixes("::/0")},
		}},
	}
	p.Routed = prefixes(networks...)
	return p
}

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// many returns n networks, half of them IPv6. Every second one is adjacent to its
// predecessor.
func many(n int) []netip.Prefix {
	out := make([]netip.Prefix, 0, n)
	for i := range n / 2 {
		k := i + i/2
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(k >> 8), byte(k), 0}), 24))
	}
	for i := range n - n/2 {
		k := i + i/2
		out = append(out, netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 1, byte(k >> 8), byte(k)}), 48))
	}
	return out
}

var counts = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// kernel returns what ip and nft list, without counts and the kernel's own routes,
// which may appear at any time.
func kernel(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(counts.ReplaceAllString(run(t, "nft", "list", "ruleset"), "counter"))
	for _, v := range []string{"-4", "-6"} {
		b.WriteString(run(t, "ip", v, "rule"))
		for line := range strings.Lines(run(t, "ip", v, "route", "show", "table", "all")) {
			if !strings.Contains(line, "proto kernel") {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

// heard returns the events that a listener has received. The kernel delivers them
// with the change.
func heard(t testing.TB, l *netlink.Subscription) []netlink.Message {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var out []netlink.Message
	for {
		buf := make([]byte, 1<<16)
		var n int
		var failed error
		if err := raw.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), buf, 0)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if failed != nil {
			if !errors.Is(failed, unix.EAGAIN) {
				t.Error(failed)
			}
			return out
		}
		for m := range netlink.Messages(buf[:n]) {
			out = append(out, m)
		}
	}
}

// byKernel reports whether the kernel itself caused an event, as when an interface
// comes up. Such events may arrive at any time.
func byKernel(m netlink.Message) bool {
	r, ok := netlink.ParseRoute(m)
	return ok && r.Protocol == unix.RTPROT_KERNEL || m.Type == unix.RTM_NEWLINK
}

// routeTo returns what ip(8) says of the route to an address, also if there is none.
func routeTo(t testing.TB, args string) string {
	t.Helper()
	out, _ := exec.Command("ip", append([]string{"route", "get"}, strings.Fields(args)...)...).CombinedOutput()
	return string(out)
}
