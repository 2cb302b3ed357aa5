package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/wirespan/wirespan/device/stun"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func TestSTUNServers(t *testing.T) {
	own := service{Endpoints: []string{"127.0.0.1:51820"}}
	c := &config.Config{}
	c.StunServers = []string{"stun.example:3478", "10.0.0.1:51820"}
	services := []string{"127.0.0.1:51820", "discovery.talos.dev:443", "10.0.0.1:51820", "[fd90::1]:51820"}
	want := []string{"stun.example:3478", "10.0.0.1:51820", "[fd90::1]:51820"}
	if got := stunServers(c, services, own); !slices.Equal(got, want) {
		t.Errorf("servers are %q, want %q", got, want)
	}
	for len(services) < 100 {
		services = append(services, net.JoinHostPort(netip.AddrFrom4([4]byte{10, 1, 0, byte(len(services))}).String(), "1"))
	}
	if got := stunServers(c, services, own); len(got) != maxSTUNServers {
		t.Errorf("%d servers are asked, want %d", len(got), maxSTUNServers)
	}
}

// A listener for all addresses answers in both IP versions, from the address that was
// asked.
func TestListenerAnswersFromTheAddressThatWasAsked(t *testing.T) {
	at, stop := answering(t, ":0")
	port := at.AddrPort().Port()
	for _, address := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		server := netip.AddrPortFrom(netip.MustParseAddr(address), port)
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server)) // takes answers from there only
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write(append(stun.AppendRequest(nil, stun.ID{1}, 0), 0)); err != nil { // garbage, which gets no answer
			t.Fatal(err)
		}
		if _, err := conn.Write(stun.AppendRequest(nil, stun.ID{7}, 0)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1500)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stun.Parse(b[:n])
		if want := conn.LocalAddr().(*net.UDPAddr).AddrPort(); err != nil || m.ID != (stun.ID{7}) || m.Mapped != want {
			t.Errorf("%s answers %+v, %v; want %v", server, m, err, want)
		}
		_ = conn.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// answering starts a STUN server beside a TCP port. Stop ends it.
func answering(t *testing.T, listen string) (at *net.TCPAddr, stop func() error) {
	t.Helper()
	tcp, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	l, err := listenSTUN(t.Context(), tcp.Addr(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.run(ctx) }()
	return tcp.Addr().(*net.TCPAddr), func() error {
		cancel()
		return <-done
	}
}

// Without an agent, netcheck asks from a port of its own.
func TestNetcheckWithoutAgent(t *testing.T) {
	at, stop := answering(t, "127.0.0.1:0")
	c := &config.Config{Services: []config.Service{{Endpoint: at.String()}}}
	n, err := Netcheck(t.Context(), c, nil)
	if err := errors.Join(err, stop()); err != nil {
		t.Fatal(err)
	}
	if f := n.Families[0]; f.Type != "none" || !f.SamePort || f.Filtering != mesh.BehaviourUnknown || n.Running {
		t.Errorf("IPv4: %+v", f)
	}
	if len(n.Discovery) != 1 || n.Discovery[0].Error != "" || len(n.STUN) != 1 || n.STUN[0].Error != "" {
		t.Errorf("servers: %+v, %+v", n.Discovery, n.STUN)
	}
}
