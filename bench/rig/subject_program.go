package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"github.com/wirespan/wirespan/bench/rig/load"
	"github.com/wirespan/wirespan/device/forward"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/device/proxy"
)

// handshake asks a proxy for a connection to an address.
type handshake func(proxy net.Conn, to netip.AddrPort) error

// openProxy runs a netstack with a proxy in front of it. The load gets to the netstack
// through the proxy, by the kernel's loopback, as a program beside the node does.
func (a *agent) openProxy(t *tunnel, ask handshake) (*opened, error) {
	stack, opened, err := a.startNetstack(t)
	if err != nil {
		return nil, err
	}
	server, err := proxy.New(proxy.Config{Network: proxied{stack}})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for clients of the proxy: %w", err)
	}
	a.background(func(ctx context.Context) error { return server.Serve(ctx, l) })
	address := portOf(netip.AddrPortFrom(loopback, 0), l)
	a.dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		c, err := load.Dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
		if err := ask(c, to); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("connect through the proxy: %w", err)
		}
		return c, nil
	}
	return opened, nil
}

// openForward runs a netstack whose server is a program beside it: what comes in from the
// mesh is forwarded to the kernel's loopback.
func (a *agent) openForward(ctx context.Context, t *tunnel) (*opened, error) {
	stack, opened, err := a.startNetstack(t)
	if err != nil {
		return nil, err
	}
	forwarder, err := forward.New(forward.Config{Mesh: forwarded{stack, t.Address}})
	if err != nil {
		return nil, err
	}
	a.background(forwarder.Run)
	a.listen = func(netip.AddrPort) (net.Listener, net.PacketConn, error) {
		l, p, err := load.Listen(netip.AddrPortFrom(loopback, 0))
		if err != nil {
			return nil, nil, err
		}
		port := portOf(netip.AddrPort{}, l).Port()
		tcp := forward.Spec{Name: "tcp", Kind: forward.Mesh, Port: port, Target: loopback.String(), TargetPort: port}
		udp := tcp
		udp.Name, udp.UDP = "udp", true
		if err := forwarder.Set([]forward.Spec{tcp, udp}); err != nil {
			return nil, nil, err
		}
		return l, p, until(ctx, func() error { return listening(forwarder) })
	}
	return opened, nil
}

func listening(f *forward.Forwarder) error {
	for _, s := range f.Status() {
		if s.Listening == 0 {
			return errors.Join(fmt.Errorf("the forward for %s does not listen", s.Name), s.Err)
		}
	}
	return nil
}

// background runs a service of the subject until the agent closes. If it ends before with an
// error, all measurements end.
func (a *agent) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	a.running.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			a.died(err)
		}
	})
	a.closing = append(a.closing, cancel)
}

// proxied is a netstack as a proxy needs it.
type proxied struct{ *netstack.Netstack }

func (proxied) ListenPacket(context.Context) (proxy.PacketConn, error) {
	return nil, errors.New("datagrams are not measured through proxies")
}

// forwarded is a netstack as forwards need it.
type forwarded struct {
	*netstack.Netstack
	address netip.Addr
}

func (f forwarded) Listen(port uint16) (net.Listener, error) {
	return f.ListenTCP(netip.AddrPortFrom(f.address, port))
}

func (f forwarded) ListenPacket(port uint16) (net.PacketConn, error) {
	return f.ListenUDP(netip.AddrPortFrom(f.address, port))
}

// askSOCKS is the command CONNECT of SOCKS5 without authentication (RFC 1928).
func askSOCKS(c net.Conn, to netip.AddrPort) error {
	if _, err := c.Write([]byte{5, 1, 0}); err != nil {
		return err
	}
	var reply [10]byte // with an IPv4 address, as all addresses of the rig are
	if _, err := io.ReadFull(c, reply[:2]); err != nil {
		return err
	}
	if reply[1] != 0 {
		return fmt.Errorf("SOCKS5: method %d", reply[1])
	}
	ip := to.Addr().As4()
	request := append([]byte{5, 1, 0, 1}, ip[:]...)
	if _, err := c.Write(append(request, byte(to.Port()>>8), byte(to.Port()))); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, reply[:]); err != nil {
		return err
	}
	if reply[1] != 0 {
		return fmt.Errorf("SOCKS5: reply %d", reply[1])
	}
	return nil
}

// askHTTP is the method CONNECT of HTTP.
func askHTTP(c net.Conn, to netip.AddrPort) error {
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", to); err != nil {
		return err
	}
	// The server of the load never speaks first, so the reader takes nothing of the stream.
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP: %s", resp.Status)
	}
	return nil
}
