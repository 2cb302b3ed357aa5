package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// associate asks for UDP ASSOCIATE, and returns the address of the relay.
func associate(t testing.TB, c net.Conn, hint netip.AddrPort) netip.AddrPort {
	t.Helper()
	send(t, c, append([]byte{5, 1, 0, 5, 3, 0}, appendTarget(nil, hint)...))
	expect(t, c, []byte{5, 0, 5, 0, 0, 1})
	var rest [6]byte
	if _, err := io.ReadFull(c, rest[:]); err != nil {
		t.Fatal(err)
	}
	relay, _, err := cutTarget(append([]byte{addressIPv4}, rest[:]...))
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(relay.String())
}

func udpSocket(t testing.TB, ip string) *net.UDPConn {
	t.Helper()
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

func addrPortOf(u *net.UDPConn) netip.AddrPort { return addrPort(u.LocalAddr()) }

// startUDPEcho returns a socket that sends datagrams back.
func startUDPEcho(t testing.TB) netip.AddrPort {
	u := udpSocket(t, "127.0.0.1")
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return addrPortOf(u)
}

// datagram is one with a SOCKS header.
func datagram(to netip.AddrPort, data string) []byte {
	return append(appendTarget([]byte{0, 0, 0}, to), data...)
}

func sendTo(t testing.TB, u *net.UDPConn, relay netip.AddrPort, b []byte) {
	t.Helper()
	if _, err := u.WriteToUDPAddrPort(b, relay); err != nil {
		t.Fatal(err)
	}
}

func expectDatagram(t testing.TB, u *net.UDPConn, from netip.AddrPort, want []byte) {
	t.Helper()
	buf := make([]byte, 1<<16)
	_ = u.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, got, err := u.ReadFromUDPAddrPort(buf)
	if err != nil || got != from || !bytes.Equal(buf[:n], want) {
		t.Fatalf("received %d bytes from %s, %v, want %d from %s", n, got, err, len(want), from)
	}
}

func TestUDP(t *testing.T) {
	echo := startUDPEcho(t)
	address, s := startProxy(t, Config{Network: fakeNetwork{}})
	relay := associate(t, connect(t, "tcp", address), netip.AddrPort{})
	if want := netip.MustParseAddrPort(address).Addr(); relay.Addr() != want {
		t.Errorf("the relay is on %s, the proxy on %s", relay.Addr(), want)
	}
	u := udpSocket(t, "127.0.0.1")
	for _, size := range []int{0, 1, 1400, maxDatagram - 10} {
		d := datagram(echo, strings.Repeat("x", size))
		sendTo(t, u, relay, d)
		expectDatagram(t, u, relay, d)
	}
	byName := append([]byte{0, 0, 0, addressName, 9}, "echo.test"...)
	byName = append(byName, byte(echo.Port()>>8), byte(echo.Port()))
	sendTo(t, u, relay, append(byName, "named"...))
	expectDatagram(t, u, relay, datagram(echo, "named"))

	// Who was written to may answer from elsewhere, and others may write: the source is true.
	other := udpSocket(t, "127.0.0.1")
	server := udpSocket(t, "127.0.0.1")
	sendTo(t, u, relay, datagram(addrPortOf(server), "hello"))
	buf := make([]byte, 100)
	_, mapped, err := server.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	sendTo(t, other, mapped, []byte("from another"))
	expectDatagram(t, u, relay, datagram(addrPortOf(other), "from another"))
	if st := s.Stats(); st.DatagramsDropped != 0 || st.Associations != 1 {
		t.Errorf("%+v", st)
	}
}

func TestUDPOverIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, Config{Network: fakeNetwork{}}, l)
	echo, u := udpSocket(t, "::1"), udpSocket(t, "::1")
	c := connect(t, "tcp", l.Addr().String())
	send(t, c, []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"))
	expect(t, c, []byte{5, 0, 5, 0, 0, 4})
	bound := make([]byte, 1+16+2)
	bound[0] = addressIPv6
	if _, err := io.ReadFull(c, bound[1:]); err != nil {
		t.Fatal(err)
	}
	to, _, err := cutTarget(bound)
	if err != nil || to.host != "::1" {
		t.Fatalf("the relay is on %v, %v", to, err)
	}
	relay := netip.AddrPortFrom(netip.IPv6Loopback(), to.port)
	sendTo(t, u, relay, datagram(addrPortOf(echo), "question"))
	buf := make([]byte, 100)
	n, from, err := echo.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "question" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	answer := strings.Repeat("x", maxDatagram-headroom)
	sendTo(t, echo, from, []byte(answer))
	expectDatagram(t, u, relay, datagram(addrPortOf(echo), answer))
}

// What is dropped is followed by one that is not, so nothing waits for what never comes.
func TestUDPDropped(t *testing.T) {
	echo := startUDPEcho(t)
	address, s := startProxy(t, Config{Network: fakeNetwork{}})
	relay := associate(t, connect(t, "tcp", address), netip.AddrPort{})
	u, otherPort, otherHost := udpSocket(t, "127.0.0.1"), udpSocket(t, "127.0.0.1"), udpSocket(t, "127.0.0.2")
	good := datagram(echo, "good")
	sendTo(t, otherHost, relay, good)
	sendTo(t, u, relay, good)
	expectDatagram(t, u, relay, good)
	bad := [][]byte{
		{},
		{0, 0},
		{0, 0, 0},
		{0, 0, 0, addressIPv4},
		{0, 0, 0, addressIPv4, 127, 0, 0, 1, 0},
		{0, 0, 0, addressName, 5, 'a'},
		{0, 0, 0, addressName, 0, 0, 80},
		{0, 0, 0, 2, 127, 0, 0, 1, 0, 80},
		append([]byte{0, 0, 1}, good[3:]...),
		append([]byte{0, 0, 0x81}, good[3:]...),
		append([]byte{1, 0, 0}, good[3:]...),
		datagram(netip.AddrPortFrom(echo.Addr(), 0), "port zero"),
		datagram(relay, "to the relay itself"),
		append([]byte{0, 0, 0, addressName, 4}, "none\x00\x50"...),
	}
	for _, b := range bad {
		sendTo(t, u, relay, b)
	}
	sendTo(t, otherPort, relay, good)
	sendTo(t, u, relay, good)
	expectDatagram(t, u, relay, good)
	if got, want := s.Stats().DatagramsDropped, int64(len(bad)+2); got != want {
		t.Errorf("%d datagrams dropped, want %d", got, want)
	}
}

func TestUDPHint(t *testing.T) {
	echo := startUDPEcho(t)
	good := datagram(echo, "good")
	first, second := udpSocket(t, "127.0.0.1"), udpSocket(t, "127.0.0.1")
	port := addrPortOf(second).Port()
	for hint, honoured := range map[netip.AddrPort]bool{
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port): true,
		netip.AddrPortFrom(netip.MustParseAddr("0.0.0.0"), port):   true,
		netip.AddrPortFrom(netip.MustParseAddr("::"), port):        true,
		netip.AddrPortFrom(netip.MustParseAddr("10.1.1.1"), port):  false, // as behind NAT
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 0):    false,
	} {
		t.Run(hint.String(), func(t *testing.T) {
			address, _ := startProxy(t, Config{Network: fakeNetwork{}})
			relay := associate(t, connect(t, "tcp", address), hint)
			sendTo(t, first, relay, good)
			sendTo(t, second, relay, good)
			if honoured {
				expectDatagram(t, second, relay, good)
			} else {
				expectDatagram(t, first, relay, good)
			}
		})
	}
}

func TestUDPNeedsTCP(t *testing.T) {
	l := listen(t, "unix")
	serveOn(t, Config{Network: fakeNetwork{}}, l)
	c := connect(t, "unix", l.Addr().String())
	send(t, c, []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"))
	expect(t, c, []byte("\x05\x00"+reply(7)))
	expectEnd(t, c)
}

// closing is a socket for UDP that tells when it is closed.
type closing struct {
	closed chan struct{}
}

func (c closing) ReadFrom([]byte) (int, netip.AddrPort, error) {
	<-c.closed
	return 0, netip.AddrPort{}, net.ErrClosed
}

func (c closing) WriteTo([]byte, string, uint16) (int, error) { return 0, net.ErrClosed }

func (c closing) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

func TestUDPEndsWithTCP(t *testing.T) {
	far := closing{make(chan struct{})}
	address, _ := startProxy(t, Config{Network: fakeNetwork{packet: func() (PacketConn, error) { return far, nil }}})
	c := connect(t, "tcp", address)
	associate(t, c, netip.AddrPort{})
	_ = c.Close()
	<-far.closed
}

func TestTCPEndsWithUDP(t *testing.T) {
	far := closing{make(chan struct{})}
	address, _ := startProxy(t, Config{Network: fakeNetwork{packet: func() (PacketConn, error) { return far, nil }}})
	c := connect(t, "tcp", address)
	relay := associate(t, c, netip.AddrPort{})
	sendTo(t, udpSocket(t, "127.0.0.1"), relay, datagram(netip.MustParseAddrPort("10.0.0.1:9"), "x"))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection outlives its association")
	}
}

func TestAssociationLimit(t *testing.T) {
	address, s := startProxy(t, Config{Network: fakeNetwork{}, Limits: Limits{Associations: 1}})
	first := connect(t, "tcp", address)
	associate(t, first, netip.AddrPort{})
	c := connect(t, "tcp", address)
	send(t, c, []byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"))
	expect(t, c, []byte("\x05\x00"+reply(1)))
	expectEnd(t, c)
	if st := s.Stats(); st.AssociationsRefused != 1 {
		t.Errorf("%+v", st)
	}
}

// An association on which nothing moves ends, one on which something does stays.
func TestAssociationIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &association{service: &service{Server: &Server{limits: Limits{Idle: time.Minute}}}}
		start := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			a.watchIdle(t.Context())
			ended <- time.Since(start)
		}()
		for range 10 {
			time.Sleep(50 * time.Second)
			a.seen.Add(1)
		}
		if lasted := <-ended; lasted < 560*time.Second || lasted > 620*time.Second {
			t.Errorf("ended after %s", lasted)
		}
	})
}

func FuzzDatagram(f *testing.F) {
	f.Add(datagram(netip.MustParseAddrPort("127.0.0.1:53"), "data"))
	f.Add(datagram(netip.MustParseAddrPort("[fd00::1]:53"), ""))
	f.Add([]byte("\x00\x00\x00\x03\x06n.mesh\x00\x35data"))
	f.Fuzz(func(t *testing.T, b []byte) {
		to, data, err := cutDatagram(b)
		if err != nil {
			var refused *replyError
			if data != nil && !errors.As(err, &refused) && to.port != 0 {
				t.Fatalf("data with an error: %v", err)
			}
			return
		}
		if !isHost(to.host) || to.port == 0 || !bytes.HasSuffix(b, data) {
			t.Fatalf("target %v", to)
		}
		if ip, err := netip.ParseAddr(to.host); err == nil && b[3] != addressName {
			again, rest, err := cutDatagram(datagram(netip.AddrPortFrom(ip, to.port), string(data)))
			if err != nil || again != to || !bytes.Equal(rest, data) {
				t.Fatalf("%v became %v, %v", to, again, err)
			}
		}
	})
}
