package rig

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/memory"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/device/tun"
	"github.com/wirespan/wirespan/mesh"
)

// prepareProcess tunes this process as `wirespan up` does. The caller closes the
// Tuner when the device has ended.
func prepareProcess() *memory.Tuner {
	profile()
	return memory.Tune(0, nil)
}

// openDevice runs our device on a data plane, with one peer.
func openDevice(plane device.Interface, t *tunnel) (*device.Device, error) {
	key, err := mesh.ParsePrivateKey(t.Key)
	if err != nil {
		return nil, fmt.Errorf("tunnel's private key: %w", err)
	}
	dev, err := device.Open(device.Config{TUN: plane, Bind: bind.New(nil), PrivateKey: key, ListenPort: t.Port})
	if err != nil {
		return nil, err
	}
	err = dev.Configure(t.MTU, []netip.Prefix{t.prefix()})
	if err == nil {
		err = dev.Apply([]mesh.PeerConfig{{
			PublicKey: t.PeerKey, Endpoint: t.Peer, AllowedIPs: []netip.Prefix{netip.PrefixFrom(t.PeerAddress, 32)},
		}})
	}
	if err != nil {
		_ = dev.Close()
		return nil, err
	}
	return dev, nil
}

// openNetstack runs our device and stack inside the agent.
func (a *agent) openNetstack(t *tunnel) (*opened, error) {
	a.closing = append(a.closing, prepareProcess().Close)
	stack, err := netstack.New(netstack.Config{Addresses: []netip.Addr{t.Address}, MTU: t.MTU})
	if err != nil {
		return nil, err
	}
	dev, err := openDevice(stack, t)
	if err != nil {
		return nil, err
	}
	a.closing = append(a.closing, func() { _ = dev.Close() })
	a.dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		return stack.DialContext(ctx, network, to.String())
	}
	a.listen = func(at netip.AddrPort) (net.Listener, net.PacketConn, error) {
		l, err := stack.ListenTCP(at)
		if err != nil {
			return nil, nil, err
		}
		p, err := stack.ListenUDP(portOf(at, l))
		return l, p, err
	}
	return &opened{Address: t.Address, MTU: t.MTU, Port: dev.ListenPort(), PIDs: []int{os.Getpid()}}, nil
}

// portOf is the address with the port that a listener found.
func portOf(at netip.AddrPort, l net.Listener) netip.AddrPort {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return at
	}
	return netip.AddrPortFrom(at.Addr(), uint16(tcp.Port))
}

// openTUN runs our device on a TUN interface in a process of its own, so that
// what it uses can be told from what the load generator uses.
func (a *agent) openTUN(o *opening) (*opened, error) {
	if err := tun.Available(); err != nil {
		return nil, absentError{err}
	}
	c, err := spawn(o.Self, roleDevice, 0, o.environment())
	if err != nil {
		return nil, err
	}
	a.watch(c.exited, func() error { return c.err })
	a.closing = append(a.closing, c.kill)
	if err := c.enc.Encode(o.Tunnel); err != nil {
		return nil, fmt.Errorf("configure the device: %w", err)
	}
	var resp response
	if err := c.dec.Decode(&resp); err != nil {
		<-c.exited
		return nil, c.err
	}
	if resp.Error != "" {
		return nil, fmt.Errorf("open the device: %s", resp.Error)
	}
	resp.Opened.PIDs = []int{c.cmd.Process.Pid}
	return resp.Opened, nil
}

// serveDevice is the process of openTUN: a device until the agent ends.
func serveDevice(w *wire) error {
	var t tunnel
	if err := w.dec.Decode(&t); err != nil {
		return fmt.Errorf("hear what tunnel to open: %w", err)
	}
	defer prepareProcess().Close()
	dev, err := openTUNDevice(&t)
	if err != nil {
		return w.enc.Encode(response{Error: err.Error()})
	}
	defer dev.Close()
	err = w.enc.Encode(response{Opened: &opened{Address: t.Address, MTU: t.MTU, Port: dev.ListenPort()}})
	if err != nil {
		return fmt.Errorf("tell of the tunnel: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.dec.Decode(&t) // the agent says no more, until it ends
	}()
	select {
	case <-ended:
		return nil
	case <-dev.Done():
		return dev.Err()
	}
}

func openTUNDevice(t *tunnel) (*device.Device, error) {
	plane, err := tun.Open(t.Interface, t.MTU)
	if err != nil {
		return nil, err
	}
	return openDevice(plane, t)
}
