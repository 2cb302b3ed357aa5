package device

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.zx2c4.com/wireguard/conn"
	wireguard "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/inflight"
	"github.com/wirespan/wirespan/mesh"
)

// Interface is a data plane: where packets of the tunnel come from and go to.
type Interface interface {
	tun.Device
	// Inject sends a packet into the tunnel as if the node's IP stack had.
	Inject(packet []byte) error
	// Configure makes MTU and addresses as given, and mends what others changed.
	Configure(mtu int, addresses []netip.Prefix) error
	// Source is the address from which the node's IP stack would send to dst.
	Source(dst netip.Addr) (netip.Addr, error)
}

// Bind is the UDP side.
type Bind interface {
	conn.Bind
	// Handshakes signals, coalesced, that handshake messages came in.
	Handshakes() <-chan struct{}
	// Fragmented are the hosts, sorted, to which the route takes no datagrams
	// as large as those that were sent.
	Fragmented() []netip.Addr
}

// Config is what a device starts with.
type Config struct {
	TUN          Interface
	Bind         Bind
	PrivateKey   mesh.PrivateKey
	ListenPort   uint16 // UDP; 0: any
	FirewallMark uint32 // on encrypted packets; 0: none
	Log          hclog.Logger
}

// Device is a running WireGuard device. Use Open.
type Device struct {
	wg         *wireguard.Device
	tun        *echo
	bind       Bind
	gate       *inflight.Bind // in front of it
	log        hclog.Logger
	events     chan struct{}
	keeper     *keeper
	cancel     context.CancelFunc // ends background
	background sync.WaitGroup
	closing    atomic.Bool

	mu      sync.Mutex // guards what follows; one change of the device at a time
	port    uint16     // as last asked for, or found when any would do
	peers   int        // at the last look, to size the next result
	request request
}

// Open starts a device. It owns c.TUN and c.Bind from then on, and closes them
// if it fails.
func Open(c Config) (*Device, error) {
	if c.TUN == nil || c.Bind == nil || c.PrivateKey.IsZero() {
		return nil, errors.New("device: TUN, Bind and PrivateKey are required")
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	d := open(c)
	if err := d.start(c); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// OpenBare starts a device without key or peers, which are to come by its
// configuration socket (ServeUAPI), as they do for wireguard-go: it opens its
// UDP port when the interface tells that it is up. Only TUN, Bind and Log of c
// are used; the device owns and closes the first two.
func OpenBare(c Config) (*Device, error) {
	if c.TUN == nil || c.Bind == nil {
		return nil, errors.New("device: TUN and Bind are required")
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return open(c), nil
}

func open(c Config) *Device {
	d := &Device{tun: newEcho(c.TUN), bind: c.Bind, log: c.Log, events: make(chan struct{}, 1), keeper: newKeeper(), port: c.ListenPort}
	tun, bind := inflight.Between(d.tun, c.Bind)
	d.wg = wireguard.NewDevice(tun, bind, logger(c.Log))
	bind.Attach(d.wg)
	d.gate = bind
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	w := watcher{signal: c.Bind.Handshakes(), gone: d.wg.Wait(), read: d.handshakeSum, changed: d.handshaken}
	d.background.Go(func() { w.run(ctx) })
	d.background.Go(func() { d.keep(ctx) })
	return d
}

func (d *Device) start(c Config) error {
	if err := d.wg.SetPrivateKey(c.PrivateKey.Reveal()); err != nil {
		return fmt.Errorf("set private key: %w", err)
	}
	if c.FirewallMark != 0 {
		if err := d.wg.BindSetMark(c.FirewallMark); err != nil {
			return fmt.Errorf("set firewall mark %#x: %w", c.FirewallMark, err)
		}
	}
	if err := d.wg.IpcSet(fmt.Sprintf("listen_port=%d\n", c.ListenPort)); err != nil {
		return fmt.Errorf("set listen port %d: %w", c.ListenPort, err)
	}
	if err := d.wg.Up(); err != nil {
		return portError(c.ListenPort, err)
	}
	if c.ListenPort == 0 {
		d.port = d.ListenPort()
	}
	return nil
}

// portError says what to do about a UDP port that can't be opened.
func portError(port uint16, err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		err = errno
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("open UDP port %d: %w: stop the program that has it, or set listenPort to another port or to 0 for any", port, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("open UDP port %d: %w: set listenPort to 1024 or above, or grant CAP_NET_BIND_SERVICE", port, err)
	}
	return fmt.Errorf("open UDP port %d: %w", port, err)
}

// Configure makes MTU and addresses of the interface as given. It changes only
// what differs, so calling it again mends what others changed.
func (d *Device) Configure(mtu int, addresses []netip.Prefix) error {
	return d.tun.Configure(mtu, addresses)
}

// SetPrivateKey changes the node's key. Sessions end, peers stay.
func (d *Device) SetPrivateKey(key mesh.PrivateKey) error {
	if key.IsZero() {
		return errors.New("set private key: it is empty")
	}
	if err := d.wg.SetPrivateKey(key.Reveal()); err != nil {
		return fmt.Errorf("set private key: %w", err)
	}
	return nil
}

// SetListenPort moves the device to another UDP port; 0 keeps the present one.
// If the new port can't be had, the old one stays.
func (d *Device) SetListenPort(port uint16) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if port == 0 || port == d.ListenPort() {
		return nil
	}
	if err := portFree(port); err != nil {
		return portError(port, err)
	}
	if err := d.setPort(port); err != nil {
		return errors.Join(portError(port, err), d.setPort(d.port))
	}
	d.port = port
	return nil
}

// portFree tries a port before the device gives up the one it has, which it
// might not get back: it may have been opened with privileges now dropped.
func portFree(port uint16) error {
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return err
	}
	return c.Close()
}

func (d *Device) setPort(port uint16) error {
	return d.wg.IpcSet(fmt.Sprintf("listen_port=%d\n", port))
}

// ListenPort is the UDP port that is really open; 0 if none is. It is asked for
// often, and the device would tell it only with everything about all peers.
func (d *Device) ListenPort() uint16 { return d.gate.Port() }

// Events signals, coalesced, that the statistics of peers changed by a
// handshake, so that they can be read at once.
func (d *Device) Events() <-chan struct{} { return d.events }

// handshaken is called when a peer has completed a handshake.
func (d *Device) handshaken() {
	select {
	case d.events <- struct{}{}:
	default:
	}
	d.keeper.look()
}

// Fragmented are the hosts, sorted, to which encrypted packets are larger than
// the route takes: the kernel cuts them into fragments.
func (d *Device) Fragmented() []netip.Addr { return d.bind.Fragmented() }

// Done is closed when the device has stopped, by Close or by itself.
func (d *Device) Done() <-chan struct{} { return d.wg.Wait() }

// Err says why the device stopped by itself; nil while it runs and after Close.
func (d *Device) Err() error {
	select {
	case <-d.Done():
	default:
		return nil
	}
	if d.closing.Load() {
		return nil
	}
	name, _ := d.tun.Name()
	return fmt.Errorf("interface %s is gone: it was deleted, or reading from it failed", name)
}

// Close stops the device and returns when its goroutines have ended.
func (d *Device) Close() error {
	d.closing.Store(true)
	d.cancel()
	d.wg.Close()
	d.background.Wait()
	return nil
}

// logger passes upstream's log on. Its errors are about single packets and
// handshakes, so they are no more than debugging aid here, and those about
// configuration requests may quote them, keys included: only their code shows.
func logger(log hclog.Logger) *wireguard.Logger {
	return &wireguard.Logger{
		Verbosef: func(format string, args ...any) {
			if log.IsTrace() {
				log.Trace("wireguard", "event", fmt.Sprintf(format, args...))
			}
		},
		Errorf: func(format string, args ...any) {
			if !log.IsDebug() {
				return
			}
			if len(args) == 1 {
				if refused, ok := args[0].(*wireguard.IPCError); ok {
					log.Debug("configuration request refused", "errno", refused.ErrorCode())
					return
				}
			}
			log.Debug("wireguard", "error", fmt.Sprintf(format, args...))
		},
	}
}
