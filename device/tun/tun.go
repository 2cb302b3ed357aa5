package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

const (
	cloneDevice = "/dev/net/tun"
	// maxInjected bounds the packets waiting for the next Read.
	maxInjected = 64
)

// TUN is an open interface; it is a tun.Device of wireguard-go. Use Open.
type TUN struct {
	native tun.Device
	file   *os.File
	name   string
	index  int
	handle *netlink.Handle
	events chan tun.Event
	mtu    atomic.Int32
	close  sync.Once

	injectMu sync.Mutex // guards injected, and the read deadline with it
	injected [][]byte
	waiting  atomic.Int32 // len(injected)

	configMu sync.Mutex // guards added
	added    []netip.Prefix
}

// Open creates the interface, down and without addresses: see Configure.
func Open(name string, mtu int) (*TUN, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("interface name %q: it must have 1 to %d characters", name, unix.IFNAMSIZ-1)
	}
	fd, err := create(name)
	if err != nil {
		return nil, advise(name, err)
	}
	native, real, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("set up TUN interface %q: %w", name, err)
	}
	t := &TUN{native: native, file: native.File(), name: real, events: make(chan tun.Event, 1)}
	if err := t.prepare(mtu); err != nil {
		_ = native.Close()
		return nil, fmt.Errorf("set up TUN interface %q: %w", name, err)
	}
	return t, nil
}

// prepare finds the link and sets what it must have before it comes up.
func (t *TUN) prepare(mtu int) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	link, err := handle.LinkByName(t.name)
	if err == nil {
		err = handle.LinkSetMTU(link, mtu)
	}
	if err != nil {
		handle.Close()
		return err
	}
	// No link-local address, as on the kernel's WireGuard links. A kernel
	// without IPv6 refuses, and Configure will say so.
	_ = handle.LinkSetIP6AddrGenMode(link, nl.IN6_ADDR_GEN_MODE_NONE)
	t.handle, t.index = handle, link.Attrs().Index
	t.mtu.Store(int32(mtu))
	return nil
}

// create makes the link and returns its descriptor.
func create(name string) (int, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, cloneError{err}
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		// EXCL: never take over a link that someone else made persistent.
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// File is the open clone device.
func (t *TUN) File() *os.File { return t.file }

// Name is the interface's name at creation.
func (t *TUN) Name() (string, error) { return t.name, nil }

// MTU is what was last set.
func (t *TUN) MTU() (int, error) { return int(t.mtu.Load()), nil }

// Events tells of changes of the MTU. The state of the link is not an event: a
// WireGuard session outlives a link that is down for a while.
func (t *TUN) Events() <-chan tun.Event { return t.events }

// BatchSize is how many packets one Read or Write moves at most.
func (t *TUN) BatchSize() int { return t.native.BatchSize() }

// Read returns injected packets first, then what the kernel sends into the
// tunnel. It fails with os.ErrClosed once the interface is closed or deleted.
func (t *TUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for {
		if t.waiting.Load() > 0 {
			if n := t.takeInjected(bufs, sizes, offset); n > 0 {
				return n, nil
			}
		}
		n, err := t.native.Read(bufs, sizes, offset)
		if notPollable(err) {
			return n, os.ErrClosed
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// notPollable recognizes internal/poll.ErrNotPollable, which is not exported:
// what a descriptor gives whose link went away before the runtime waited for it.
func notPollable(err error) bool {
	var pe *os.PathError
	return errors.As(err, &pe) && pe.Err.Error() == "not pollable"
}

// Write hands packets to the kernel. While the link is down they are dropped.
func (t *TUN) Write(bufs [][]byte, offset int) (int, error) {
	n, err := t.native.Write(bufs, offset)
	if errors.Is(err, syscall.EIO) {
		return n, nil
	}
	return n, err
}

// Inject sends a packet into the tunnel as if the kernel had; packet is copied.
func (t *TUN) Inject(packet []byte) error {
	t.injectMu.Lock()
	defer t.injectMu.Unlock()
	if len(t.injected) == maxInjected {
		return fmt.Errorf("inject packet into %s: %w", t.name, unix.ENOBUFS)
	}
	// A deadline in the past ends a Read that waits for the kernel. It stands
	// until the packets are taken, so it can't be missed.
	if err := t.file.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return fmt.Errorf("inject packet into %s: %w", t.name, err)
	}
	t.injected = append(t.injected, append([]byte(nil), packet...))
	t.waiting.Store(int32(len(t.injected)))
	return nil
}

func (t *TUN) takeInjected(bufs [][]byte, sizes []int, offset int) int {
	t.injectMu.Lock()
	defer t.injectMu.Unlock()
	n := min(len(bufs), len(t.injected))
	for i, packet := range t.injected[:n] {
		sizes[i] = copy(bufs[i][offset:], packet)
	}
	t.injected = append(t.injected[:0], t.injected[n:]...)
	t.waiting.Store(int32(len(t.injected)))
	if len(t.injected) == 0 {
		_ = t.file.SetReadDeadline(time.Time{}) // fails only when closed, as will the next read
	}
	return n
}

// Close removes the interface and ends a waiting Read.
func (t *TUN) Close() error {
	var err error
	t.close.Do(func() {
		err = t.native.Close()
		t.configMu.Lock()
		defer t.configMu.Unlock()
		t.handle.Close()
		close(t.events)
	})
	return err
}
