package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	wireguard "golang.zx2c4.com/wireguard/device"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/memory"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/mesh"
)

// flowPort is the port at which an end answers flows by TCP and UDP.
const flowPort = 7000

// netstackProgram is the name under which the test binary runs netstackEnd.
const netstackProgram = "netstack-end"

// tunnelEnd is one end of a tunnel without an agent. It has an inner address of each
// family.
type tunnelEnd struct {
	*bareDevice
	number   int
	netstack bool // runs netstackEnd
	upstream bool
	proc     *labProcess
}

// tunnelEnd prepares an end on the host. Ends that communicate have different numbers.
func (h *labHost) tunnelEnd(number int) *tunnelEnd {
	h.Helper()
	return &tunnelEnd{bareDevice: h.bareDevice(fmt.Sprintf("10.91.0.%d", number)), number: number}
}

func (e *tunnelEnd) inner6() string { return fmt.Sprintf("fd91::%x", e.number) }

// run starts a program that serves the interface in the foreground.
func (e *tunnelEnd) run(argv ...string) {
	e.Helper()
	e.proc = e.spawn(e.link, argv...)
	eventually(e.T, 20*time.Second, func() error {
		_, err := e.exec("wg", "show", e.link)
		return errors.Join(err, e.proc.running())
	})
}

// runTUN runs wirespan device.
func (e *tunnelEnd) runTUN() { e.Helper(); e.run(e.binary, "device", "--foreground", e.link) }

// runNetstack runs netstackEnd, which also answers flows.
func (e *tunnelEnd) runNetstack() {
	e.Helper()
	program, err := exec.LookPath(netstackProgram)
	if err != nil {
		e.Fatal(err)
	}
	e.netstack = true
	e.run(program, e.link, e.inner, e.inner6())
}

// meet configures a peer and its endpoint.
func (e *tunnelEnd) meet(peer *tunnelEnd, at netip.AddrPort) {
	e.Helper()
	path := filepath.Join(e.dir, e.link+".conf")
	text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32, %s/128\nEndpoint = %s\n",
		e.key, peer.public, peer.inner, peer.inner6(), at)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		e.Fatal(err)
	}
	e.mustExec("wg", "setconf", e.link, path)
	if e.netstack {
		return
	}
	e.ip("address replace " + e.inner + "/24 dev " + e.link)
	e.ip("address replace " + e.inner6() + "/64 dev " + e.link + " nodad")
	e.ip("link set " + e.link + " up")
}

// outer returns the address at which the end listens for encrypted packets.
func (e *tunnelEnd) outer(v6 bool) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(e.outer6(), 51820)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(e.address), 51820)
}

// outer6 returns the host's IPv6 address on the switch.
func (h *labHost) outer6() netip.Addr {
	return netip.MustParseAddr("fd90::" + strings.TrimPrefix(h.address, "10.90.0."))
}

// serve answers flows from this process. A netstack end answers them itself.
func (e *tunnelEnd) serve() {
	e.Helper()
	if !e.netstack {
		e.serveFlows()
	}
}

// serveFlows answers flows at all addresses of the host.
func (h *labHost) serveFlows() {
	h.Helper()
	var listener net.Listener
	var socket net.PacketConn
	err := h.inside(func() (err error) {
		if listener, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", flowPort)); err == nil {
			socket, err = net.ListenPacket("udp", fmt.Sprintf("[::]:%d", flowPort))
		}
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	failed, ended := make(chan error, 1), make(chan struct{})
	go func() { failed <- serveStreams(listener) }()
	go func() { serveDatagrams(socket); close(ended) }()
	h.Cleanup(func() {
		_, _ = listener.Close(), socket.Close()
		<-ended
		if err := <-failed; err != nil {
			h.Error(err)
		}
	})
}

// at returns the inner address of an end's flow port.
func (e *tunnelEnd) at(v6 bool) string {
	if v6 {
		return fmt.Sprintf("[%s]:%d", e.inner6(), flowPort)
	}
	return fmt.Sprintf("%s:%d", e.inner, flowPort)
}

// netstackEnd is the main function of a program: a data plane without a TUN interface,
// which answers flows. The arguments are the name and the inner addresses.
func netstackEnd() {
	err := runNetstackEnd(os.Args[1], os.Args[2:])
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// runNetstackEnd runs until there is an error.
func runNetstackEnd(name string, addresses []string) error {
	log := hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Info})
	defer memory.Tune(0, log).Close()
	config := netstack.Config{MTU: wireguard.DefaultMTU}
	for _, a := range addresses {
		config.Addresses = append(config.Addresses, netip.MustParseAddr(a))
	}
	stack, err := netstack.New(config)
	if err != nil {
		return err
	}
	var key [mesh.KeySize]byte
	_, _ = rand.Read(key[:]) // wg(8) replaces it; Read does not fail
	dev, err := device.Open(device.Config{TUN: stack, Bind: bind.New(log), PrivateKey: mesh.NewPrivateKey(key), Log: log})
	if err != nil {
		return err
	}
	listener, err := stack.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), flowPort))
	if err != nil {
		return err
	}
	socket, err := stack.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), flowPort))
	if err != nil {
		return err
	}
	control, err := device.ListenUAPI(filepath.Join(device.UAPIDirectory, name+".sock"))
	if err != nil {
		return err
	}
	go serveDatagrams(socket)
	go dev.ServeUAPIListener(context.Background(), control)
	return serveStreams(listener)
}
