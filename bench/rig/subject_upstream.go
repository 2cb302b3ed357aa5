package rig

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
)

const (
	// upTime is how long each step may take in which a subject comes up.
	upTime = 20 * time.Second
	// upstreamSockets is the directory of wireguard-go's socket.
	upstreamSockets = "/var/run/wireguard"
)

// openRaw opens the underlay itself as the subject.
func (a *agent) openRaw(o *opening) (*opened, error) {
	mtu, err := linkMTU(o.Tunnel.Underlay)
	if err != nil {
		return nil, err
	}
	return &opened{Address: o.Tunnel.Underlay, MTU: mtu, PIDs: []int{os.Getpid()}}, nil
}

// openUpstreamNetstack runs upstream's device and stack inside the agent.
func (a *agent) openUpstreamNetstack(t *tunnel) (*opened, error) {
	plane, stack, err := netstack.CreateNetTUN([]netip.Addr{t.Address}, nil, t.MTU)
	if err != nil {
		return nil, fmt.Errorf("open upstream's netstack: %w", err)
	}
	silent := &wireguard.Logger{Verbosef: wireguard.DiscardLogf, Errorf: wireguard.DiscardLogf}
	dev := wireguard.NewDevice(plane, conn.NewDefaultBind(), silent)
	a.closing = append(a.closing, dev.Close)
	config, err := t.request()
	if err == nil {
		err = dev.IpcSet(config)
	}
	if err == nil {
		err = dev.Up()
	}
	if err != nil {
		return nil, fmt.Errorf("open upstream's device: %w", err)
	}
	port, err := upstreamPort(dev)
	if err != nil {
		return nil, err
	}
	a.dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		if network == "udp" {
			return stack.DialUDPAddrPort(netip.AddrPort{}, to)
		}
		return stack.DialContextTCPAddrPort(ctx, to)
	}
	a.listen = func(at netip.AddrPort) (net.Listener, net.PacketConn, error) {
		l, err := stack.ListenTCPAddrPort(at)
		if err != nil {
			return nil, nil, err
		}
		p, err := stack.ListenUDPAddrPort(portOf(at, l))
		return l, p, err
	}
	return &opened{Address: t.Address, MTU: t.MTU, Port: port, PIDs: []int{os.Getpid()}}, nil
}

func upstreamPort(dev *wireguard.Device) (port uint16, err error) {
	state, err := dev.IpcGet()
	if err != nil {
		return 0, fmt.Errorf("read upstream's port: %w", err)
	}
	_, after, _ := strings.Cut(state, "listen_port=")
	_, err = fmt.Sscan(after, &port)
	return port, err
}

// openUpstream runs wireguard-go and configures it through its socket.
func (a *agent) openUpstream(ctx context.Context, o *opening) (*opened, error) {
	t := &o.Tunnel
	cmd := exec.Command(o.Program, t.Interface)
	cmd.Env = append(os.Environ(), "WG_PROCESS_FOREGROUND=1", "LOG_LEVEL=error")
	cmd.Env = append(cmd.Env, o.environment()...)
	if err := a.run(subjectUpstream, cmd); err != nil {
		return nil, err
	}
	path := filepath.Join(upstreamSockets, t.Interface+".sock")
	err := until(ctx, func() error { return t.configure(path) })
	if err != nil {
		return nil, fmt.Errorf("configure wireguard-go: %w", err)
	}
	if err := configureLink(t.Interface, t.prefix(), t.MTU); err != nil {
		return nil, err
	}
	return &opened{Address: t.Address, MTU: t.MTU, Port: t.Port, PIDs: []int{cmd.Process.Pid}}, nil
}

// configure sends the tunnel to a socket of WireGuard's configuration protocol.
func (t *tunnel) configure(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(upTime))
	config, err := t.request()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "set=1\n%s\n", config); err != nil {
		return err
	}
	reply, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if reply != "errno=0\n" {
		return fmt.Errorf("refused: %s", strings.TrimSpace(reply))
	}
	return nil
}
