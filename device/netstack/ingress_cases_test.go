package netstack

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"github.com/wirespan/wirespan/firewall"
	firewalltest "github.com/wirespan/wirespan/testdata/firewall"
)

// filterPair is a stack with a filter, and another stack that sends it packets.
type filterPair struct {
	outside, node *Netstack
	verdicts      chan bool     // of the rules, for each packet they were asked about
	replies       chan struct{} // the node's echo replies
}

func newFilterPair(t *testing.T, in firewall.Ingress, p firewalltest.Packet) *filterPair {
	m := &filterPair{newStack(t, p.Source), newStack(t, p.Destination), make(chan bool, 100), make(chan struct{}, 100)}
	join(t, m.outside, m.node, unchanged, func(batch [][]byte) [][]byte {
		for _, packet := range batch {
			if h, ok := parseHeaders(packet[16:]); ok && h.icmp() {
				if _, reply := h.echo(); reply {
					m.replies <- struct{}{}
				}
			}
		}
		return batch
	})
	matcher := firewall.NewMatcher(in)
	m.node.SetIngress(func(source, destination netip.Addr, protocol uint8, port uint16) bool {
		ok, _ := matcher.Allows(firewall.Flow{Source: source, Destination: destination, Protocol: protocol, DestinationPort: port})
		m.verdicts <- ok
		return ok
	})
	return m
}

// TestIngressCases runs the cases that TUN and netstack share, with real traffic.
// Admitted traffic must also continue when the rules begin to block everything.
func TestIngressCases(t *testing.T) {
	cases, err := firewalltest.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		for _, p := range c.Packets {
			t.Run(c.Name+"/"+p.String(), func(t *testing.T) {
				m := newFilterPair(t, c.Ingress, p)
				switch {
				case p.Protocol == protocolTCP:
					m.tcp(t, p)
				case p.Protocol == protocolUDP:
					m.udp(t, p)
				case p.Protocol == protocolICMP && p.Source.Is4(), p.Protocol == protocolICMPv6 && p.Source.Is6():
					m.echo(t, p)
				default:
					m.other(t, p)
				}
				if got := m.node.Refused() > 0; got == p.Accept {
					t.Errorf("refused %v", got)
				}
			})
		}
	}
}

// verdict waits until the rules are asked, and compares their answer.
func (m *filterPair) verdict(t *testing.T, p firewalltest.Packet) {
	t.Helper()
	if got := <-m.verdicts; got != p.Accept {
		t.Errorf("accepted %v", got)
	}
}

// settle waits until all packets that were sent before have passed the filter. It
// sends a last packet of a protocol that no case has.
func (m *filterPair) settle(t *testing.T, p firewalltest.Packet) {
	t.Helper()
	marked := make(chan struct{}, 1)
	m.node.SetIngress(func(_, _ netip.Addr, protocol uint8, _ uint16) bool {
		if protocol == 200 {
			marked <- struct{}{}
		}
		return false
	})
	m.inject(t, ipPacket(200, p.Source, p.Destination, make([]byte, 8)))
	<-marked
}

func (m *filterPair) inject(t *testing.T, packet []byte) {
	t.Helper()
	if err := m.outside.Inject(packet); err != nil {
		t.Fatal(err)
	}
}

func (m *filterPair) tcp(t *testing.T, p firewalltest.Packet) {
	l, err := m.node.ListenTCP(netip.AddrPortFrom(p.Destination, p.DestinationPort))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	local, protocol := fullAddress(netip.AddrPortFrom(p.Source, 0))
	remote, _ := fullAddress(netip.AddrPortFrom(p.Destination, p.DestinationPort))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dialed := make(chan net.Conn, 1)
	go func() {
		c, err := gonet.DialTCPWithBind(ctx, m.outside.stack, local, remote, protocol)
		if err != nil {
			dialed <- nil
			return
		}
		dialed <- c
	}()
	m.verdict(t, p)
	if !p.Accept {
		cancel()
	}
	client := <-dialed
	if client == nil {
		if p.Accept {
			t.Error("no connection")
		}
		m.settle(t, p)
		return
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	m.node.SetIngress(block)
	roundTrip(t, client, server)
	roundTrip(t, server, client)
}

func (m *filterPair) udp(t *testing.T, p firewalltest.Packet) {
	server, err := m.node.ListenUDP(netip.AddrPortFrom(p.Destination, p.DestinationPort))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := m.outside.DialUDP(netip.AddrPortFrom(p.Source, 0), netip.AddrPortFrom(p.Destination, p.DestinationPort))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 3 {
		if _, err := client.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			m.verdict(t, p)
		}
		if !p.Accept {
			m.settle(t, p)
			return
		}
		var buf [4]byte
		_, from, err := server.ReadFrom(buf[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.WriteTo(buf[:], from); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf[:]); err != nil {
			t.Fatal(err)
		}
		m.node.SetIngress(block)
	}
}

func (m *filterPair) echo(t *testing.T, p firewalltest.Packet) {
	for i := range 3 {
		m.inject(t, echo(p.Source, p.Destination, false, 7))
		if i == 0 {
			m.verdict(t, p)
		}
		if !p.Accept {
			m.settle(t, p)
			return
		}
		<-m.replies
		m.node.SetIngress(block)
	}
}

// other sends a packet of a protocol that the stack does not have. Only the verdict
// can be checked.
func (m *filterPair) other(t *testing.T, p firewalltest.Packet) {
	m.inject(t, ipPacket(p.Protocol, p.Source, p.Destination, make([]byte, 32)))
	m.verdict(t, p)
	if !p.Accept {
		m.settle(t, p)
	}
}
