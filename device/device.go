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

	"github.com/wirespan/wirespan/device/clamp"
	"github.com/wirespan/wirespan/device/engine"
	"github.com/wirespan/wirespan/device/inflight"
	"github.com/wirespan/wirespan/device/nat"
	"github.com/wirespan/wirespan/device/relay"
	"github.com/wirespan/wirespan/mesh"
)

// Interface is a data plane: where packets of the tunnel come from and go to.
type Interface interface {
	tun.Device
	// Inject sends a packet into the tunnel as if the node's IP stack had sent it.
	Inject(packet []byte) error
	// Configure sets MTU and addresses, and undoes changes that others made.
	Configure(mtu int, addresses []netip.Prefix) error
	// Source returns the address from which the node's IP stack would send to dst.
	Source(dst netip.Addr) (netip.Addr, error)
}

// Bind is the UDP side of a device.
type Bind interface {
	conn.Bind
	// Handshakes returns a coalesced signal that handshake messages came in.
	Handshakes() <-chan struct{}
	// Fragmented returns, sorted, the hosts to which datagrams that were sent are
	// larger than the route's MTU.
	Fragmented() []netip.Addr
}

// Config is the initial configuration of a device.
type Config struct {
	TUN          Interface
	Bind         Bind
	PrivateKey   mesh.PrivateKey
	ListenPort   uint16 // UDP; 0: any
	FirewallMark uint32 // on encrypted packets; 0: none
	// Resolve looks up the names of STUN servers; nil: the system's resolver does.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Relays is how relays are reached; nil: none are used, and the port is shared with none.
	Relays *relay.Access
	Log    hclog.Logger
}

// Device is a running WireGuard device. Use Open.
type Device struct {
	wg         *wireguard.Device
	tun        *pinger
	clamped    *clamp.TUN
	own        *refuser // nil: the data plane is not the host's
	bind       Bind
	gate       *inflight.Bind // between wg and bind
	engine     *engine.Engine // which chooses paths, between gate and bind
	relays     *relays        // between engine and bind; nil: there are none
	nat        *nat.Prober
	log        hclog.Logger
	events     mesh.Signal
	called     mesh.Signal // by a standby peer
	keepalives *keepalives
	handshakes *handshakeTimes
	cancel     context.CancelFunc // ends background
	background sync.WaitGroup
	closing    atomic.Bool

	mu      sync.Mutex // guards what follows; the device is changed under it, too
	port    uint16     // as last asked for; as found, if any would do
	peers   int        // as last counted: the size of the next Stats
	request setRequest
	standby map[mesh.Key]bool
}

// Open starts a device. The device owns c.TUN and c.Bind from then on; Open closes
// them if it fails.
func Open(c Config) (*Device, error) {
	if c.TUN == nil || c.Bind == nil || c.PrivateKey.IsZero() {
		return nil, errors.New("device: TUN, Bind and PrivateKey are required")
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	relays, err := openRelays(c)
	if err != nil {
		return nil, err
	}
	d := open(c, relays)
	d.engine.Remember()
	if err := d.start(c); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// OpenBare starts a device without key and peers. As with wireguard-go, these come
// by the configuration socket (ServeUAPI), and the device opens its UDP port when
// the interface goes up. OpenBare uses only TUN, Bind and Log of c; the device owns
// the first two.
func OpenBare(c Config) (*Device, error) {
	if c.TUN == nil || c.Bind == nil {
		return nil, errors.New("device: TUN and Bind are required")
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	return open(c, nil), nil
}

func open(c Config, relays *relays) *Device {
	d := &Device{
		bind: c.Bind, relays: relays, log: c.Log, port: c.ListenPort,
		events: mesh.NewSignal(), called: mesh.NewSignal(), keepalives: newKeepalives(), handshakes: newHandshakeTimes(),
	}
	if stack, ok := c.TUN.(hostStack); ok {
		d.own = &refuser{hostStack: stack, port: d.ListenPort}
		c.TUN = d.own
	}
	fitting := newClamped(c.TUN)
	d.clamped = fitting.tun
	d.tun = newPinger(fitting, func(from netip.Addr) { d.engine.Probed(from) })
	var paths *engine.Bind
	sockets := conn.Bind(c.Bind)
	if relays != nil {
		d.bind, sockets = relays.bind, relays.bind.Whole()
	}
	d.engine, paths = engine.New(c.PrivateKey.Public(), sockets, c.Log, d.handshakeDone)
	d.nat = d.newProber(c.Resolve)
	tun, bind := inflight.Between(d.tun, paths)
	d.gate = bind // before the device reads, which needs the port
	d.wg = wireguard.NewDevice(tun, bind, logger(c.Log))
	bind.Attach(d.wg)
	d.engine.Attach(chooser{d})
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	w := handshakeWatcher{signal: d.bind.Handshakes(), stopped: d.wg.Wait(), read: d.handshakeSum, changed: d.handshakeDone}
	d.background.Go(func() { w.run(ctx) })
	d.background.Go(func() { d.engine.Run(ctx) })
	d.background.Go(func() { d.nat.Run(ctx) })
	if relays != nil {
		d.background.Go(func() { relays.run(ctx, d.events) })
	}
	d.background.Go(func() { d.runKeepalives(ctx) })
	d.background.Go(func() { d.runSuccession(ctx) })
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

// portError adds to the error of opening a UDP port what to do about it.
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

// Configure sets MTU and addresses of the interface. It changes only what differs,
// so calling it again undoes changes that others made.
func (d *Device) Configure(mtu int, addresses []netip.Prefix) error {
	return d.tun.Configure(mtu, addresses)
}

// SetPrivateKey changes the node's key. Peers stay, and those with a session get a new one
// at once. Packets to them wait for that, and what they send in the old one still comes in.
func (d *Device) SetPrivateKey(key mesh.PrivateKey) error {
	if key.IsZero() {
		return errors.New("set private key: it is empty")
	}
	d.gate.Patient()
	d.engine.SetSelf(key.Public())
	err := d.wg.SetPrivateKey(key.Reveal())
	if err == nil {
		err = d.renew()
	}
	if err != nil {
		return fmt.Errorf("set private key: %w", err)
	}
	return nil
}

// SetListenPort moves the device to another UDP port; 0 keeps the present one. If
// the new port can't be opened, the device keeps the old one.
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

// portFree returns an error if a UDP port can't be opened. It is called before the
// device gives up the port it has, since it might not get that back: the privileges
// with which it was opened may have been dropped.
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

// ListenPort returns the UDP port that is open; 0 if none is. It is called often,
// so it does not ask the device, which would describe all peers with it.
func (d *Device) ListenPort() uint16 { return d.gate.Port() }

// Events returns a coalesced signal that a peer completed a handshake, or that this
// host began or ceased to refuse packets: the statistics and Attempts are worth reading.
func (d *Device) Events() <-chan struct{} { return d.events }

// Called returns a coalesced signal that a standby peer has started a handshake: packets on
// both sides wait until Apply has given it its networks.
func (d *Device) Called() <-chan struct{} { return d.called }

// handshakeDone is called when a peer has completed a handshake.
func (d *Device) handshakeDone() {
	d.events.Notify()
	d.keepalives.wake.Notify()
}

// Fragmented returns, sorted, the hosts to which encrypted packets are larger than
// the route's MTU, so that the kernel fragments them.
func (d *Device) Fragmented() []netip.Addr { return d.bind.Fragmented() }

// DroppedInitiations returns how many handshakes were not started, since too many
// were with addresses that have not answered.
func (d *Device) DroppedInitiations() uint64 { return d.engine.Dropped() }

// Attempts returns the handshakes that were started lately, and the addresses to which
// this host refuses to send, sorted by address.
func (d *Device) Attempts() []mesh.Attempt { return d.engine.Attempts() }

// HostChanged says that addresses, links or routes of this host have changed: the paths
// to peers are looked at again.
func (d *Device) HostChanged() { d.engine.Changed() }

// Returned returns how many of the device's own encrypted packets the host routed
// back into the tunnel. They were dropped.
func (d *Device) Returned() uint64 {
	if d.own == nil {
		return 0
	}
	return d.own.refused.Load()
}

// Done returns a channel that is closed when the device has stopped, by Close or by
// itself.
func (d *Device) Done() <-chan struct{} { return d.wg.Wait() }

// Err returns why the device stopped by itself; nil while it runs and after Close.
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

// logger returns a logger for upstream. Upstream's errors concern single packets
// and handshakes, so they are logged at debug level. Errors about configuration
// requests may quote the request, keys included, so only their number is logged.
// Other messages reach the log with their arguments, of which it may make use.
func logger(log hclog.Logger) *wireguard.Logger {
	return &wireguard.Logger{
		Verbosef: func(format string, args ...any) {
			if log.IsTrace() {
				log.Trace("wireguard", "event", hclog.Fmt(format, args...))
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
