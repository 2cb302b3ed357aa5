package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
)

// scenarioSitesMasquerade checks that a host without any route out of its network is
// reached from the mesh, because it sees its gateway's address as the source. A reload
// turns that off.
func scenarioSitesMasquerade(l *lab) {
	ha, hb := l.host("a"), l.host("b")
	printer, s := ha.site(1), hb.site(2)
	printer.ip("route del default")
	printer.ip("-6 route del default")
	a, b := ha.leader(printer, "masquerade: true"), hb.leader(s)
	before := a.steadyKernel()
	token := a.found()
	b.join(token)
	l.allUp(a, b)
	b.leads("10.61.1.0/24", "a", mesh.PathTunnel)
	a.leads("10.61.2.0/24", "b", mesh.PathTunnel)
	for _, at := range printer.addresses() {
		name := printer.names(at)
		for _, from := range []*labHost{s.labHost, b.labHost} {
			from.reaches(at)
			if peer, err := from.comesAs(name); err != nil || peer != printer.gateway(at) {
				l.Errorf("%s reaches %s as %v, want the gateway's %s: %v", from.name, at, peer, printer.gateway(at), err)
			}
		}
	}
	a.explains("10.61.1.2:80", firewall.PathBypass, "", "--from", "10.61.2.2")
	if err := printer.ping(s.v4); err == nil {
		l.Error("the host without a route reaches another site by itself")
	}

	a.configure(settings("advertisedNetworks: " + printer.networks()))
	a.mustCLI("reload")
	printer.ip("route add default via 10.61.1.1")
	eventually(l.T, within, func() error {
		peer, err := s.comesAs(printer.names(printer.v4))
		if err == nil && peer != s.v4 {
			err = fmt.Errorf("after the reload, %s is still seen as %s", s.v4, peer)
		}
		return err
	})
	b.mustCLI("down")
	a.mustCLI("down")
	a.proc.wait(l.T)
	a.untouched(before)
}

// names starts a server on a host, which sends each client the address that it comes
// from. It returns the server's address.
func (h *labHost) names(at netip.Addr) netip.AddrPort {
	h.Helper()
	var listener net.Listener
	err := h.inside(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, conn.RemoteAddr().String()) // the client reports an error
			_ = conn.Close()
		}
	}()
	h.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return netip.MustParseAddrPort(listener.Addr().String())
}

// comesAs returns the host's address as a server of names sees it.
func (h *labHost) comesAs(server netip.AddrPort) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := h.dial(ctx, "tcp", server.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return netip.Addr{}, err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return netip.Addr{}, err
	}
	peer, err := netip.ParseAddrPort(string(answer))
	return peer.Addr(), err
}
