package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// lab is the network of one scenario: hosts, each a network namespace, on a switch.
//
//	  a eth0        b eth0        c eth0
//	10.90.0.1     10.90.0.2     10.90.0.3      fd90::1 …
//	     |             |             |
//	     +-------- br0 (switch) -----+         10.90.0.254, the default route
//
// Everything is removed when the test ends, whatever its outcome.
type lab struct {
	*testing.T
	binary  string
	dir     string
	network string // of the hosts on the switch: private, unless a scenario changes it
	prefix  string // of namespace names
	number  uint32 // of this lab in this process
	hosts   int
	logs    []string
}

var labs atomic.Uint32

// newLab makes an empty lab: the switch.
func newLab(t *testing.T, binary string) *lab {
	t.Helper()
	number := labs.Add(1)
	l := &lab{
		T: t, binary: binary, dir: publicDir(t), number: number,
		prefix: fmt.Sprintf("ws%d-%d", os.Getpid(), number), network: "10.90.0.",
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, log := range l.logs {
				t.Logf("--- %s %s", filepath.Base(log), tail(log, 60))
			}
		}
	})
	sw := l.namespace("switch")
	sw.ip("link add br0 type bridge forward_delay 0 stp_state 0")
	sw.ip("address add 10.90.0.254/24 dev br0")
	sw.ip("link set br0 up")
	return l
}

// labHost is a host: a network namespace.
type labHost struct {
	*lab
	name, ns string
	address  string // IPv4 address on the switch; empty if the host is not on it
}

// isPublic gives the hosts that follow addresses as the Internet has them: 203.0.113.N.
func (l *lab) isPublic() {
	l.Helper()
	l.network = "203.0.113."
	l.must("ip", "-n", l.prefix+"switch", "address", "add", l.network+"254/24", "dev", "br0")
}

// isAt reports whether an address is the host's, 10.90.0.N or fd90::N on the switch.
func (h *labHost) isAt(a netip.Addr) bool {
	_, n, _ := strings.Cut(h.address, h.network)
	return a.String() == h.address || a.String() == "fd90::"+n
}

// namespace adds a host without any link.
func (l *lab) namespace(name string) *labHost {
	l.Helper()
	h := &labHost{lab: l, name: name, ns: l.prefix + name}
	l.must("ip", "netns", "add", h.ns)
	l.Cleanup(func() { removeNamespace(h.ns) })
	h.ip("link set lo up")
	return h
}

// host adds a host on the switch.
func (l *lab) host(name string) *labHost {
	l.Helper()
	h := l.namespace(name)
	l.hosts++
	h.address = fmt.Sprint(l.network, l.hosts)
	l.must("ip", "-n", l.prefix+"switch", "link", "add", "to-"+name, "type", "veth", "peer", "name", "eth0", "netns", h.ns)
	l.must("ip", "-n", l.prefix+"switch", "link", "set", "to-"+name, "master", "br0", "up")
	h.ip("address add " + h.address + "/24 dev eth0")
	h.ip(fmt.Sprintf("address add fd90::%x/64 dev eth0 nodad", l.hosts))
	h.ip("link set eth0 up")
	h.ip("route add default via " + l.network + "254")
	return h
}

// must runs a tool outside the namespaces and returns its output.
func (l *lab) must(argv ...string) string {
	l.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		l.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// ip runs ip(8) for the host.
func (h *labHost) ip(args string) {
	h.Helper()
	h.must(append([]string{"ip", "-n", h.ns}, strings.Fields(args)...)...)
}

// exec runs a tool on the host and returns its standard output and error.
func (h *labHost) exec(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.ns}, argv...)...)
	cmd.Env = cleanEnvironment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s on %s: %w: %s", filepath.Base(argv[0]), h.name, err, out)
	}
	return string(out), nil
}

// mustExec is exec for a tool that must succeed.
func (h *labHost) mustExec(argv ...string) string {
	h.Helper()
	out, err := h.exec(argv...)
	if err != nil {
		h.Fatal(err)
	}
	return out
}

// nft loads an nftables ruleset on the host.
func (h *labHost) nft(rules string) {
	h.Helper()
	path := filepath.Join(h.dir, h.name+".nft")
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		h.Fatal(err)
	}
	h.mustExec("nft", "-f", path)
}

// inside runs fn in the host's network namespace. Sockets that fn opens stay there.
func (h *labHost) inside(fn func() error) error {
	there, err := netns.GetFromName(h.ns)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", h.ns, err)
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := netns.Get()
	if err == nil {
		defer here.Close()
		err = netns.Set(there)
	}
	if err != nil {
		return fmt.Errorf("entering namespace %s: %w", h.ns, err)
	}
	err = fn()
	if back := netns.Set(here); back != nil {
		return fmt.Errorf("leaving namespace %s: %w", h.ns, back) // the thread stays locked, so that no other test runs on it
	}
	// The thread must not end: a program that it started would get its Pdeathsig.
	runtime.UnlockOSThread()
	return err
}

// dial connects from the host. The address must be a literal: a DNS look-up would leave
// the host's network.
func (h *labHost) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.inside(func() (err error) {
		d := net.Dialer{Timeout: 10 * time.Second}
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
