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

// prepareProcess tunes this process as `wirespan up` tunes its own. The caller
// closes the Tuner when the device has ended.
func prepareProcess() *memory.Tuner {
	profile()
	return memory.Tune(0, nil)
}

// openDevice runs wirespan's device with one peer on a data plane.
func openDevice(plane device.Interface, t *tunnel) (*device.Device, error) {
	key, err := mesh.ParsePrivateKey(t.Key)
	if err != nil {
		return nil, fmt.Errorf("tunnel's private key: %w", err)
	}
	config := device.Config{TUN: plane, Bind: bind.New(nil), PrivateKey: key, ListenPort: t.Port}
	if t.Relay.IsValid() {
		config.Relays = relayAccess()
	}
	dev, err := device.Open(config)
	if err != nil {
		return nil, err
	}
	err = dev.Configure(t.MTU, []netip.Prefix{t.prefix()})
	endpoint := t.Peer
	if err == nil && t.Relay.IsValid() {
		endpoint, err = useRelay(dev, t.Relay, t.Peer)
	}
	if err == nil {
		err = dev.Apply([]mesh.PeerConfig{{
			PublicKey: t.PeerKey, Endpoint: endpoint, AllowedIPs: []netip.Prefix{netip.PrefixFrom(t.PeerAddress, 32)},
		}})
	}
	if err != nil {
		_ = dev.Close()
		return nil, err
	}
	return dev, nil
}

// openNetstack runs wirespan's device and netstack inside the agent, for the load itself.
func (a *agent) openNetstack(t *tunnel) (*opened, error) {
	_, opened, err := a.startNetstack(t)
	return opened, err
}

// startNetstack runs a device and a netstack, and lets the load use that.
func (a *agent) startNetstack(t *tunnel) (*netstack.Netstack, *opened, error) {
	a.closing = append(a.closing, prepareProcess().Close)
	stack, err := netstack.New(netstack.Config{Addresses: []netip.Addr{t.Address}, MTU: t.MTU})
	if err != nil {
		return nil, nil, err
	}
	dev, err := openDevice(stack, t)
	if err != nil {
		return nil, nil, err
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
	return stack, &opened{Address: t.Address, MTU: t.MTU, Port: dev.ListenPort(), PIDs: []int{os.Getpid()}}, nil
}

// portOf returns the address with the port of a listener.
func portOf(at netip.AddrPort, l net.Listener) netip.AddrPort {
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return at
	}
	return netip.AddrPortFrom(at.Addr(), uint16(tcp.Port))
}

// openTUN runs wirespan's device on a TUN interface. The device has a process of
// its own, so that its CPU time and memory don't include the load generator's.
func (a *agent) openTUN(o *opening) (*opened, error) {
	if err := tun.Available(); err != nil {
		return nil, absentError{err}
	}
	return a.openChild(roleDevice, o, o.Tunnel)
}

// openChild runs a part of the subject in a process of its own, to which it sends a configuration.
func (a *agent) openChild(role string, o *opening, config any) (*opened, error) {
	c, err := spawn(o.Self, role, 0, o.environment())
	if err != nil {
		return nil, err
	}
	a.watch(c.exited, func() error { return c.err })
	a.closing = append(a.closing, c.kill)
	if err := c.enc.Encode(config); err != nil {
		return nil, fmt.Errorf("configure the %s: %w", role, err)
	}
	var resp response
	if err := c.dec.Decode(&resp); err != nil {
		<-c.exited
		return nil, c.err
	}
	if resp.Error != "" {
		return nil, fmt.Errorf("open the %s: %s", role, resp.Error)
	}
	resp.Opened.PIDs = []int{c.cmd.Process.Pid}
	return resp.Opened, nil
}

// serveDevice is the body of openTUN's process. It runs a device until the agent
// ends.
func serveDevice(w *wire) error {
	var t tunnel
	if err := w.dec.Decode(&t); err != nil {
		return fmt.Errorf("read the tunnel's configuration: %w", err)
	}
	defer prepareProcess().Close()
	dev, err := openTUNDevice(&t)
	if err != nil {
		return w.enc.Encode(response{Error: err.Error()})
	}
	defer dev.Close()
	err = w.enc.Encode(response{Opened: &opened{Address: t.Address, MTU: t.MTU, Port: dev.ListenPort()}})
	if err != nil {
		return fmt.Errorf("report the open tunnel: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.dec.Decode(&t) // the agent sends nothing more: it returns when the agent ends
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
