package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	wire "github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testZone has names of one mesh, without the domain.
type testZone map[string][]netip.Addr

var (
	testSubnet = netip.MustParsePrefix("fd00:0:0:2::/64")
	dbAddrs    = []netip.Addr{netip.MustParseAddr("fd00:0:0:2::2"), netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.3")}
)

func (testZone) Domain() string       { return "mesh" }
func (testZone) Subnet() netip.Prefix { return testSubnet }

func (z testZone) Lookup(name string) ([]netip.Addr, bool) {
	addrs, ok := z[strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(name), "mesh."), ".")]
	return addrs, ok
}

func (z testZone) Reverse(addr netip.Addr) string {
	for name, addrs := range z {
		for _, a := range addrs {
			if a == addr {
				return name + ".mesh"
			}
		}
	}
	return ""
}

func testNames() Zone {
	many := []netip.Addr{dbAddrs[0].Next()}
	for i := range byte(40) {
		many = append(many, netip.AddrFrom4([4]byte{10, 8, 0, i}))
	}
	return testZone{"": nil, "db": dbAddrs, "id": nil, "many": many}
}

func newServer(t testing.TB, c Config) *Server {
	t.Helper()
	if c.Zone == nil {
		zone := testNames()
		c.Zone = func() Zone { return zone }
	}
	if c.Allowed == nil {
		c.Allowed = func(netip.Addr) bool { return true }
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask returns a query as bytes.
func ask(t testing.TB, name string, typ uint16, change ...func(*wire.Msg)) []byte {
	t.Helper()
	m := &wire.Msg{}
	m.SetQuestion(name, typ)
	m.Id = 7
	for _, f := range change {
		f(m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// packets is a packet socket in memory.
type packets struct {
	in     chan packet
	out    chan packet
	closed chan struct{}
	close  sync.Once
}

type packet struct {
	data []byte
	addr net.Addr
}

func newPackets() *packets {
	return &packets{in: make(chan packet), out: make(chan packet, 2*maxWaiting), closed: make(chan struct{})}
}

func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case in := <-p.in:
		return copy(b, in.data), in.addr, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

func (p *packets) WriteTo(b []byte, to net.Addr) (int, error) {
	p.out <- packet{append([]byte{}, b...), to}
	return len(b), nil
}

func (p *packets) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

func (p *packets) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[fd00:0:0:2::1]:53"))
}

type packetConn struct {
	*packets
	net.PacketConn // the rest is not used
}

func (p packetConn) ReadFrom(b []byte) (int, net.Addr, error)   { return p.packets.ReadFrom(b) }
func (p packetConn) WriteTo(b []byte, to net.Addr) (int, error) { return p.packets.WriteTo(b, to) }
func (p packetConn) Close() error                               { return p.packets.Close() }
func (p packetConn) LocalAddr() net.Addr                        { return p.packets.LocalAddr() }

func source(s string) net.Addr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// listener is a listener in memory.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[fd00:0:0:2::1]:53"))
}

type namedConn struct {
	net.Conn
	remote net.Addr
}

func (c namedConn) RemoteAddr() net.Addr { return c.remote }

// dial connects a client from an address.
func (l *listener) dial(from string) net.Conn {
	client, server := net.Pipe()
	l.conns <- namedConn{server, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}
	return client
}

// upstreams are resolvers in memory. Each answers a query, or not at all if it returns nil.
type upstreams map[string]func(network string, q *wire.Msg) *wire.Msg

func (u upstreams) dial(ctx context.Context, network, address string) (net.Conn, error) {
	answer := u[address]
	if answer == nil {
		return nil, errors.New("nobody there")
	}
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		buf := make([]byte, wire.MaxMsgSize)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			in := buf[:n]
			if network == "tcp" {
				in = in[2:]
			}
			var q wire.Msg
			if q.Unpack(in) != nil {
				return
			}
			reply := answer(network, &q)
			if reply == nil {
				continue
			}
			out, err := reply.Pack()
			if err != nil {
				return
			}
			if network == "tcp" {
				out = append([]byte{byte(len(out) >> 8), byte(len(out))}, out...)
			}
			if _, err := server.Write(out); err != nil {
				return
			}
		}
	}()
	return client, nil
}

// text answers a query with a TXT record.
func text(q *wire.Msg, txt string) *wire.Msg {
	m := (&wire.Msg{}).SetReply(q)
	m.Answer = []wire.RR{&wire.TXT{Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeTXT, Class: wire.ClassINET, Ttl: 60}, Txt: []string{txt}}}
	return m
}
