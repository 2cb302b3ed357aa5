package tun

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/device/offload"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// TUN is an open interface. It implements wireguard-go's tun.Device. Use Open, Attach
// or FromFile.
type TUN struct {
	file    *os.File
	raw     syscall.RawConn
	name    string
	events  chan tun.Event
	mtu     atomic.Int32
	closed  sync.Once
	watcher *watcher // nil for Open

	reader  reader
	fill    func(fd uintptr) bool // reader.fill
	writeMu sync.Mutex            // guards writer
	writer  writer
	drain   func(fd uintptr) bool // writer.drain

	injection

	configMu sync.Mutex // guards what follows
	rt       *netlink.RTNetlink
	index    uint32
	added    []netip.Prefix // addresses that Configure set
}

// Open creates the interface. It is down and has no addresses until Configure.
func Open(name string, mtu int) (*TUN, error) {
	return makeLink(name, mtu, unix.IFF_TUN_EXCL)
}

// Attach creates the interface, or takes over a persistent one ("ip tuntap add") that
// no program has open. Other programs configure it: Events reports when the link goes
// up or down or gets another MTU, even after it was moved to another network
// namespace.
func Attach(name string, mtu int) (*TUN, error) {
	t, err := makeLink(name, mtu, 0)
	if err != nil {
		return nil, err
	}
	return t.watched()
}

// FromFile takes over an open TUN descriptor, which has IFF_NO_PI and may have
// IFF_VNET_HDR. It watches the link as Attach does. It closes f, unless it fails.
func FromFile(f *os.File, mtu int) (*TUN, error) {
	fd, err := duplicate(f)
	if err != nil {
		return nil, fmt.Errorf("take over the TUN descriptor: %w", err)
	}
	t, err := newTUN(fd)
	if err != nil {
		return nil, fmt.Errorf("take over the TUN descriptor: %w", err)
	}
	if err := t.prepare(mtu); err != nil {
		return nil, err
	}
	if t, err = t.watched(); err != nil {
		return nil, err
	}
	_ = f.Close()
	return t, nil
}

func makeLink(name string, mtu int, flags uint16) (*TUN, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("interface name %q: it must have 1 to %d characters", name, unix.IFNAMSIZ-1)
	}
	fd, err := create(name, flags)
	if err != nil {
		return nil, advise(name, err)
	}
	t, err := newTUN(fd)
	if err != nil {
		return nil, fmt.Errorf("set up TUN interface %q: %w", name, err)
	}
	if err := t.prepare(mtu); err != nil {
		return nil, err
	}
	// No link-local address, as on the kernel's WireGuard links. A kernel
	// without IPv6 refuses, and Configure will say so.
	_ = t.rt.SetNoLinkLocal(t.index)
	return t, nil
}

// newTUN returns the TUN of a descriptor. It owns fd, and closes it if it fails.
func newTUN(fd int) (*TUN, error) {
	name, mode, err := negotiate(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return assemble(fd, name, mode)
}

// assemble is newTUN for a descriptor whose name and mode are known.
func assemble(fd int, name string, mode mode) (*TUN, error) {
	err := unix.SetNonblock(fd, true) // before os.NewFile looks
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	t := &TUN{file: os.NewFile(uintptr(fd), cloneDevice), name: name, events: make(chan tun.Event, 1)}
	t.reader.mode, t.writer.mode = mode, mode
	t.writer.coalescer.UDP = mode.udp
	t.fill, t.drain = t.reader.fill, t.writer.drain
	if t.raw, err = t.file.SyscallConn(); err != nil {
		_ = t.file.Close()
		return nil, err
	}
	return t, nil
}

// prepare looks up the link and sets its MTU. If it fails, it closes the descriptor.
func (t *TUN) prepare(mtu int) error {
	rt, err := netlink.OpenRTNetlink()
	if err != nil {
		_ = t.file.Close()
		return fmt.Errorf("open netlink socket: %w", err)
	}
	link, err := find(rt, t.name)
	if err == nil && link.MTU != mtu {
		err = rt.SetMTU(link.Index, mtu)
	}
	if err != nil {
		rt.Close()
		_ = t.file.Close()
		return fmt.Errorf("set MTU of TUN interface %q to %d: %w", t.name, mtu, err)
	}
	t.rt, t.index = rt, link.Index
	t.mtu.Store(int32(mtu))
	return nil
}

// find looks up a link that must exist.
func find(rt *netlink.RTNetlink, name string) (netlink.Link, error) {
	link, err := rt.Link(name)
	if err == nil && link.Index == 0 {
		err = unix.ENODEV
	}
	return link, err
}

// File returns the open clone device.
func (t *TUN) File() *os.File { return t.file }

// Name returns the name that the interface was created with.
func (t *TUN) Name() (string, error) { return t.name, nil }

// MTU returns the MTU that was last set, or last seen where the link is watched.
func (t *TUN) MTU() (int, error) { return int(t.mtu.Load()), nil }

// Events returns the channel of changes of the MTU and, after Attach and FromFile, of
// the link's state. After Open, the state of the link is no event: a WireGuard
// session outlives a link that is down for a while.
func (t *TUN) Events() <-chan tun.Event { return t.events }

// BatchSize returns how many packets one Read returns at most, and how many are best
// passed to one Write.
func (t *TUN) BatchSize() int { return offload.MaxBatch }

// Read returns injected packets first, then packets that the kernel sends into the
// tunnel. It fails with os.ErrClosed once the interface is closed or deleted.
func (t *TUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	for len(bufs) > 0 {
		if t.waiting.Load() > 0 {
			if n := t.takeInjected(bufs, sizes, offset); n > 0 {
				return n, nil
			}
		}
		var ended error
		if !t.reader.begin(bufs, sizes, offset) {
			ended = t.raw.Read(t.fill)
		}
		n, err := t.reader.end()
		switch {
		case n > 0 || err != nil:
			return n, err
		case ended != nil && !errors.Is(ended, os.ErrDeadlineExceeded):
			// Closed, or deleted before the runtime could wait for it.
			return 0, os.ErrClosed
		}
	}
	return 0, nil
}

// Write hands packets to the kernel, and returns how many it took. While the link is
// down, the kernel drops them.
func (t *TUN) Write(bufs [][]byte, offset int) (int, error) {
	t.writeMu.Lock()
	defer t.writeMu.Unlock()
	total, first := 0, error(nil)
	for len(bufs) > 0 {
		n := min(len(bufs), offload.MaxBatch)
		t.writer.begin(bufs[:n], offset)
		err := t.raw.Write(t.drain)
		sent, failed := t.writer.end()
		total += sent
		if err != nil || errors.Is(failed, os.ErrClosed) {
			return total, os.ErrClosed
		}
		if failed != nil && first == nil {
			first = fmt.Errorf("write to %s: %w", t.name, failed)
		}
		bufs = bufs[n:]
	}
	return total, first
}

// Close removes the interface, unless another program made it persistent, and ends a
// Read that waits.
func (t *TUN) Close() error {
	var err error
	t.closed.Do(func() {
		t.watcher.close()
		err = t.file.Close()
		t.configMu.Lock()
		defer t.configMu.Unlock()
		t.rt.Close()
		close(t.events)
	})
	return err
}
