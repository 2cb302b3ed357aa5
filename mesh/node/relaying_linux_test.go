//go:build !edge

package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

// Hosts of a namespace: the relay, and a peer of those that it relays for.
const (
	relayAt   = "198.51.100.1"
	peerAt    = "192.0.2.7:3480"
	relayRoot = "WIRESPAN_TEST_RELAY_NAMESPACE"
)

// inNamespace runs the test once more, in a process in a network namespace of its own, and
// reports whether this is that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(relayRoot) != "" {
		ip(t, "link set lo up")
		ip(t, "address add "+relayAt+"/32 dev lo")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), relayRoot+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// startRelay starts a founder with settings. The loop has said for whom it relays, nobody, and says
// no more than that.
func startRelay(t *testing.T, settings string) *Node {
	t.Helper()
	c := must(config.Load([]config.File{{Name: "f", Data: fmt.Appendf(nil, `
apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: true
---
apiVersion: v1alpha1
kind: WirespanConfig
backend: netstack
stateDir: memory:%s
controlSocket: %s
noClockFix: true
%s`, t.TempDir(), filepath.Join(t.TempDir(), "s"), settings)}}, config.Options{ClusterProvided: true}))
	n, err := Start(t.Context(), Config{Config: c, ShowToken: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	relayed(t, n, func(uint16, []mesh.Condition) bool {
		n.relaying.mu.Lock()
		defer n.relaying.mu.Unlock()
		return n.relaying.asked
	})
	return n
}

// relayed waits until the relay has a port, or says why not. The loop takes its signals.
func relayed(t *testing.T, n *Node, want func(port uint16, conditions []mesh.Condition) bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for late := time.After(time.Minute); !want(n.relaying.Port(), n.relaying.Conditions()); {
		select {
		case <-poll.C:
		case <-late:
			t.Fatalf("port %d, conditions %v", n.relaying.Port(), n.relaying.Conditions())
		}
	}
}

// relayClient is a client with what it has received.
type relayClient struct {
	*relay.Client
	in chan string
}

func dialRelay(t *testing.T, n *Node, node, transport string) *relayClient {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(relayAt), n.relaying.Port()).String()
	dial := func(ctx context.Context) (net.Conn, error) {
		if transport == "tls" {
			d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{relay.ALPN}}}
			return d.DialContext(ctx, "tcp", at)
		}
		return new(net.Dialer).DialContext(ctx, transport, at)
	}
	c := &relayClient{in: make(chan string, 16)}
	c.Client = must(relay.New(relay.Config{
		Dial: dial, Stream: transport != "udp", Keepalive: time.Second,
		Credentials: func(server time.Time) relay.Credentials {
			return memberCredentials(t, n, node, server)
		},
		Receive: func(b []byte, _ netip.AddrPort) {
			select {
			case c.in <- string(b):
			default:
			}
		},
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
	return c
}

func (c *relayClient) wait(t *testing.T, what string, is func(relay.Status) bool) {
	t.Helper()
	for !is(c.Snapshot()) {
		select {
		case <-c.Changed():
		case <-time.After(time.Minute):
			t.Fatalf("the client is not %s: %+v", what, c.Snapshot())
		}
	}
}

// echoPeer starts a peer that sends back what it gets, in a namespace of its own.
func echoPeer(t *testing.T) {
	t.Helper()
	host := strings.Split(peerAt, ":")[0]
	thread, attached, opened := make(chan int), make(chan struct{}), make(chan *net.UDPConn)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		thread <- unix.Gettid()
		<-attached
		for _, args := range []string{"address add " + host + "/24 dev peer0", "link set peer0 up", "route add default via 192.0.2.1"} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v\n%s", args, err, out)
			}
		}
		peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(peerAt)))
		if err != nil {
			t.Error(err)
		}
		opened <- peer
		b := make([]byte, 2000)
		for {
			n, from, err := peer.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = peer.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	ip(t, fmt.Sprintf("link add relay0 type veth peer name peer0 netns %d", <-thread))
	ip(t, "address add 192.0.2.1/24 dev relay0")
	ip(t, "link set relay0 up")
	close(attached)
	peer := <-opened
	t.Cleanup(func() { peer.Close() })
}

func members(names ...string) mesh.RelayService {
	s := mesh.RelayService{Public: []netip.Addr{netip.MustParseAddr(relayAt)}}
	for _, name := range names {
		s.Members = append(s.Members, mesh.RelayMember{NodeID: memberKey(name).NodeID(), Name: name})
	}
	return s
}

// askSTUN returns the address at which a server sees this host.
func askSTUN(t *testing.T, port uint16) string {
	t.Helper()
	conn := must(net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(relayAt), port).String()))
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 1500)
	if _, err := conn.Write(stun.AppendRequest(nil, stun.ID{7}, 0)); err != nil {
		t.Fatal(err)
	}
	m := must(stun.Parse(b[:must(conn.Read(b))]))
	return m.Mapped.Addr().String()
}

var uclientLost = regexp.MustCompile(`Total lost packets \d+ \(([0-9.]+)%\)`)

// The relay is on one port number over UDP, TCP and TLS: that of the discovery server, which is
// there at the same time, or WireGuard's. Who is no member gets nothing, and who is expelled loses
// what it has.
func TestRelayOnOnePort(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	echoPeer(t)
	for name, tt := range map[string]struct {
		settings string
		port     uint16
	}{
		"beside discovery":               {"discoveryListen: " + relayAt + ":4443", 4443},
		"beside discovery and WireGuard": {"discoveryListen: " + relayAt + ":51820", 51820},
		"beside WireGuard":               {"answerStun: true\ndiscoveryListen: 127.0.0.1:4444", 51820},
	} {
		t.Run(name, func(t *testing.T) { testOnePort(t, tt.settings, tt.port) })
	}
}

func testOnePort(t *testing.T, settings string, want uint16) {
	t.Helper()
	n := startRelay(t, "relay: offer\nrelayPorts: 40000-40063\n"+settings+"\n")
	if n.relaying.Port() != 0 {
		t.Error("there is a relay before anybody may use it")
	}
	n.relaying.Set(members("a", "b", "c", "of UDP", "of TCP", "of TLS"))
	relayed(t, n, func(port uint16, c []mesh.Condition) bool { return port == want && len(c) == 0 })

	clients := map[string]*relayClient{}
	for node, transport := range map[string]string{"a": "udp", "b": "tcp", "c": "tls"} {
		clients[node] = dialRelay(t, n, node, transport)
		clients[node].SetPeers([]netip.AddrPort{netip.MustParseAddrPort(peerAt)})
	}
	for node, c := range clients {
		c.wait(t, "ready", func(s relay.Status) bool { return s.Permitted && s.Channels == 1 })
		c.WriteTo([]byte(node), netip.MustParseAddrPort(peerAt))
		if got := <-c.in; got != node {
			t.Errorf("%s got %q", node, got)
		}
	}
	for name, options := range map[string][]string{"UDP": nil, "TCP": {"-t"}, "TLS": {"-t", "-S"}} {
		have := memberCredentials(t, n, "of "+name, time.Now())
		args := append([]string{
			"-c", "-e", strings.Split(peerAt, ":")[0], "-r", "3480", "-n", "5", "-l", "1400", "-m", "1", "-p", fmt.Sprint(want),
			"-u", have.Username, "-w", have.Password.Reveal(), "-L", relayAt,
		}, options...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := exec.CommandContext(ctx, "turnutils_uclient", append(args, relayAt)...).CombinedOutput()
		cancel()
		if lost := uclientLost.FindSubmatch(out); err != nil || lost == nil || string(lost[1]) != "0.000000" {
			t.Errorf("turnutils_uclient (Debian's package coturn) over %s: %v\n%s", name, err, out)
		}
	}
	if got := askSTUN(t, want); got != relayAt {
		t.Errorf("STUN says that this is %s", got)
	}
	if !published(n.Status()) || !n.Status().Discovery[0].Connected {
		t.Errorf("discovery: %+v", n.Status().Discovery)
	}
	if u := n.relaying.Usage(); len(u) != 6 || u[0].Member != "a" || len(u[0].Relayed) != 1 || u[0].SentBytes != 1 || u[0].ReceivedBytes != 1 {
		t.Errorf("usage %+v", u)
	}

	stranger := dialRelay(t, n, "d", "udp")
	stranger.wait(t, "refused", func(s relay.Status) bool { return s.State == relay.StateWaiting && s.Err != nil })
	n.relaying.Set(members("a", "b"))
	clients["c"].wait(t, "expelled", func(s relay.Status) bool { return s.State == relay.StateWaiting })
	if u := n.relaying.Usage(); slices.ContainsFunc(u, func(u mesh.RelayUsage) bool { return u.Member == "c" }) {
		t.Errorf("usage %+v", u)
	}
	for _, node := range []string{"a", "b"} {
		if s := clients[node].Snapshot(); s.State != relay.StateReady || clients[node].Counters().Allocations != 1 {
			t.Errorf("%s, which stays: %+v", node, s)
		}
	}
}

// A relay follows settings and addresses, and says why it is not there.
func TestRelayFollows(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for name, tt := range map[string]struct {
		settings string
		port     uint16
	}{
		"beside discovery": {"answerStun: false\ndiscoveryListen: " + relayAt + ":4443", 4443},
		"beside WireGuard": {"discoveryListen: 127.0.0.1:4444", 51820},
	} {
		t.Run(name, func(t *testing.T) { testFollows(t, tt.settings, tt.port) })
	}
}

func testFollows(t *testing.T, settings string, want uint16) {
	t.Helper()
	n := startRelay(t, "relay: offer\nrelayPorts: 40000-40001\n"+settings+"\n")
	private := mesh.RelayService{Public: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("100.64.0.1")}}
	n.relaying.Set(private)
	relayed(t, n, func(port uint16, c []mesh.Condition) bool {
		return port == 0 && len(c) == 1 && c[0].Type == conditionRelaying
	})
	alter := func(change func(*config.Config)) {
		c := *n.relaySecrets.settings.Load()
		change(&c)
		n.relaySecrets.set(&c)
		n.relaying.reconfigure()
	}
	alter(func(c *config.Config) {
		c.RelayNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		c.KubeSpan.ExtraAnnouncedEndpoints = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}
	})
	relayed(t, n, func(port uint16, c []mesh.Condition) bool { return port == want && len(c) == 0 })

	n.relaying.Set(members("a"))
	relayed(t, n, func(uint16, []mesh.Condition) bool {
		s := n.relaying.current()
		return s != nil && s.shape.public4 == netip.MustParseAddr(relayAt)
	})
	c := dialRelay(t, n, "a", "udp")
	c.wait(t, "ready", func(s relay.Status) bool { return s.State == relay.StateReady })
	alter(func(c *config.Config) { c.Relay = config.RelayNever })
	relayed(t, n, func(port uint16, c []mesh.Condition) bool { return port == 0 && len(c) == 0 })
	c.wait(t, "without an address", func(s relay.Status) bool { return s.State != relay.StateReady })
	if u := n.relaying.Usage(); len(u) != 1 || len(u[0].Relayed) != 0 {
		t.Errorf("usage %+v", u)
	}
	alter(func(c *config.Config) { c.Relay = config.RelayOffer })
	c.wait(t, "ready again", func(s relay.Status) bool { return s.State == relay.StateReady })
}

// A port that another program has is said, and taken once it is free. Meanwhile the relay is
// reached by UDP.
func TestRelayPortTaken(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	other := must(net.Listen("tcp", ":51820"))
	n := startRelay(t, "relay: offer\ndiscoveryListen: 127.0.0.1:4444\n")
	n.relaying.Set(members("a"))
	relayed(t, n, func(port uint16, c []mesh.Condition) bool {
		return port == 51820 && len(c) == 1 && strings.Contains(c[0].Message, "address already in use")
	})
	dialRelay(t, n, "a", "udp").wait(t, "ready", func(s relay.Status) bool { return s.State == relay.StateReady })
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	n.relaying.reconfigure()
	relayed(t, n, func(port uint16, c []mesh.Condition) bool { return port == 51820 && len(c) == 0 })
	dialRelay(t, n, "a", "tls").wait(t, "ready", func(s relay.Status) bool { return s.State == relay.StateReady })
}

// The kernel refuses to send to broadcast addresses of this host's networks, which look like any
// other address.
func TestRelayedPortsDoNotBroadcast(t *testing.T) {
	var r relaying
	r.own.Store(&map[netip.Addr]struct{}{})
	s, err := r.listenRelayed(&relayShape{})("udp4", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("127.255.255.255:9")); !errors.Is(err, unix.EACCES) {
		t.Errorf("sending to a broadcast address: %v", err)
	}
}
