package server

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/mesh"
)

// network is a network of UDP in memory. Nothing is lost but what has no receiver, and what a
// full socket drops.
type network struct {
	mu      sync.Mutex
	sockets map[netip.AddrPort]*memory
}

type datagram struct {
	b    []byte
	from netip.AddrPort
}

// memory is a socket of a network, and a connected one if it has a remote address.
type memory struct {
	n             *network
	local, remote netip.AddrPort
	in            chan datagram
	done          chan struct{}
	once          sync.Once
}

func newNetwork() *network { return &network{sockets: map[netip.AddrPort]*memory{}} }

func (n *network) open(local, remote netip.AddrPort) (*memory, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sockets[local] != nil {
		return nil, &net.OpError{Op: "listen", Err: net.ErrClosed}
	}
	m := &memory{n: n, local: local, remote: remote, in: make(chan datagram, 512), done: make(chan struct{})}
	n.sockets[local] = m
	return m, nil
}

func (n *network) listen(t testing.TB, local string) *memory {
	t.Helper()
	m, err := n.open(netip.MustParseAddrPort(local), netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func (m *memory) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-m.in:
		return copy(b, d.b), d.from, nil
	case <-m.done:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (m *memory) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	m.n.mu.Lock()
	other := m.n.sockets[to]
	m.n.mu.Unlock()
	if other != nil && (!other.remote.IsValid() || other.remote == m.local) {
		select {
		case other.in <- datagram{append([]byte(nil), b...), m.local}:
		default:
		}
	}
	return len(b), nil
}

func (m *memory) Close() error {
	m.once.Do(func() {
		close(m.done)
		m.n.mu.Lock()
		delete(m.n.sockets, m.local)
		m.n.mu.Unlock()
	})
	return nil
}

func (m *memory) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := m.ReadFromUDPAddrPort(b)
	return n, net.UDPAddrFromAddrPort(from), err
}

func (m *memory) WriteTo(b []byte, to net.Addr) (int, error) {
	return m.WriteToUDPAddrPort(b, to.(*net.UDPAddr).AddrPort())
}

func (m *memory) Read(b []byte) (int, error) {
	n, _, err := m.ReadFromUDPAddrPort(b)
	return n, err
}
func (m *memory) Write(b []byte) (int, error)      { return m.WriteToUDPAddrPort(b, m.remote) }
func (m *memory) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(m.local) }
func (m *memory) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(m.remote) }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// The tests' hosts.
const (
	relayHost = "198.51.100.1"
	control   = relayHost + ":3478"
	control6  = "[2001:db8::1]:3478"
	nodeID    = "node-a"
)

var (
	relayAddr  = netip.MustParseAddr(relayHost)
	key        = relay.NewKey("cluster", mesh.NewSecret([32]byte{1}))
	relayAddr6 = netip.MustParseAddr("2001:db8::1")
	inside     = netip.MustParseAddr("10.9.9.9") // of the relay's host
	ownerKey   = mesh.Key{7}
)

// rig is a server on a network in memory.
type rig struct {
	*network
	s       *Server
	stop    func()
	mu      sync.Mutex
	members map[string]Member
	keys    []relay.Key
	nextTCP uint16
	tcp     *pipeListener
}

func startRig(t testing.TB, limits Limits) *rig {
	t.Helper()
	r := &rig{network: newNetwork(), keys: []relay.Key{key}, members: map[string]Member{
		relay.User(nodeID):   {"a", ownerKey},
		relay.User("node-b"): {"b", mesh.Key{8}},
	}}
	r.start(t, limits)
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) start(t testing.TB, limits Limits) {
	t.Helper()
	var sockets []Socket
	for _, at := range []string{control, control6} {
		socket, err := r.open(netip.MustParseAddrPort(at), netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, socket)
	}
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	r.mu.Lock()
	r.tcp = l
	r.mu.Unlock()
	var err error
	r.s, err = New(Config{
		Sockets: sockets, Listeners: []net.Listener{l}, Public4: relayAddr, FirstPort: 40000, LastPort: 40099, Keys: r.currentKeys, Limits: limits,
		Public6: relayAddr6,
		Listen: func(network string, port uint16) (Socket, error) {
			addr := relayAddr
			if network == "udp6" {
				addr = relayAddr6
			}
			return r.open(netip.AddrPortFrom(addr, port), netip.AddrPort{})
		},
		Authorize: func(user string) (Member, bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			m, ok := r.members[user]
			return m, ok
		},
		Own:           func(a netip.Addr) bool { return a == inside || a.IsLoopback() },
		WireGuardPort: func() uint16 { return 51820 },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.s.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.stop = func() {}
	}
}

func (r *rig) currentKeys(string) []relay.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

func (r *rig) setKeys(keys ...relay.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = keys
}

// pipeListener accepts connections in memory.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(control))
}

// pipe is one end of a connection in memory, with addresses.
type pipe struct {
	net.Conn
	local, remote netip.AddrPort
}

func (p pipe) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(p.local) }
func (p pipe) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(p.remote) }

// dialTCP connects to the server's listener.
func (r *rig) dialTCP(ctx context.Context) (net.Conn, error) {
	r.mu.Lock()
	r.nextTCP++
	from := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), 1000+r.nextTCP)
	l := r.tcp
	r.mu.Unlock()
	a, b := net.Pipe()
	at := netip.MustParseAddrPort(control)
	select {
	case l.conns <- pipe{b, at, from}:
		return pipe{a, from, at}, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialUDP returns a connected socket of a host, with a port of its own each time.
func (r *rig) dialUDP(host string) func(context.Context) (net.Conn, error) {
	var port uint16 = 5000
	return func(context.Context) (net.Conn, error) {
		port++
		return r.open(netip.AddrPortFrom(netip.MustParseAddr(host), port), netip.MustParseAddrPort(control))
	}
}

// client is a relay.Client with what it has received.
type client struct {
	*relay.Client
	in   chan datagram
	stop func()
}

func (r *rig) client(t testing.TB, node string, stream bool) *client {
	t.Helper()
	dial := r.dialUDP("203.0.113." + map[string]string{nodeID: "1", "node-b": "2"}[node])
	if stream {
		dial = r.dialTCP
	}
	return startClient(t, relay.Config{
		Dial: dial, Stream: stream,
		Credentials: func(time.Time) relay.Credentials { return key.Credentials(node, time.Now()) },
	})
}

func startClient(t testing.TB, cfg relay.Config) *client {
	t.Helper()
	c := &client{in: make(chan datagram, 64)}
	cfg.Receive = func(b []byte, from netip.AddrPort) {
		select {
		case c.in <- datagram{append([]byte(nil), b...), from}:
		default:
		}
	}
	var err error
	if c.Client, err = relay.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	c.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.stop = func() {}
	}
	t.Cleanup(func() { c.stop() })
	return c
}

// wait returns the first status that is as wanted.
func (c *client) wait(t testing.TB, what string, is func(relay.Status) bool) relay.Status {
	t.Helper()
	limit := time.After(3 * time.Minute)
	for {
		if s := c.Snapshot(); is(s) {
			return s
		}
		select {
		case <-c.Changed():
		case <-limit:
			t.Fatalf("the client is not %s: %+v", what, c.Snapshot())
		}
	}
}

func (c *client) ready(t testing.TB, peers ...*memory) netip.AddrPort {
	t.Helper()
	var list []netip.AddrPort
	for _, p := range peers {
		list = append(list, p.local)
	}
	c.SetPeers(list)
	return c.wait(t, "ready", func(s relay.Status) bool {
		return s.State == relay.StateReady && s.Permitted && s.Channels >= len(peers)
	}).Relayed
}

// receive returns the next datagram.
func receive(t testing.TB, in <-chan datagram) datagram {
	t.Helper()
	select {
	case d := <-in:
		return d
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		return datagram{}
	}
}
