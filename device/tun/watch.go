package tun

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// watcher tells of what others do to the link: up, down, MTU. A nil watcher
// watches nothing.
type watcher struct {
	tun     *TUN
	done    chan struct{}
	stopped sync.WaitGroup
	up      bool // as last told

	mu      sync.Mutex // guards changes
	changes *nl.NetlinkSocket
}

// watched starts the watcher, or closes the interface.
func (t *TUN) watched() (*TUN, error) {
	w := &watcher{tun: t, done: make(chan struct{})}
	changes, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("watch interface %s: %w", t.name, err)
	}
	w.changes, t.watcher = changes, w
	w.stopped.Go(w.run)
	return t, nil
}

func (w *watcher) run() {
	defer func() { w.changes.Close() }() // the last, which close may not have seen
	for w.look() {
		w.mu.Lock()
		changes := w.changes
		w.mu.Unlock()
		select {
		case <-w.done:
			return
		default:
		}
		// An error means that changes may have been missed, or that close was
		// called. Either way the link itself says how it is.
		_, _, _ = changes.Receive()
	}
}

// look tells what is new, and reports whether there is still something to watch.
func (w *watcher) look() bool {
	t := w.tun
	t.configMu.Lock()
	link, err := t.handle.LinkByIndex(t.index)
	t.configMu.Unlock()
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return w.follow()
	}
	if err != nil {
		return true
	}
	var e tun.Event
	if up := link.Attrs().Flags&net.FlagUp != 0; up != w.up {
		w.up = up
		e = tun.EventDown
		if up {
			e = tun.EventUp
		}
	}
	if mtu := int32(link.Attrs().MTU); t.mtu.Swap(mtu) != mtu {
		e |= tun.EventMTUUpdate
	}
	return e == 0 || w.tell(e)
}

func (w *watcher) tell(e tun.Event) bool {
	select {
	case w.tun.events <- e:
		return true
	case <-w.done:
		return false
	}
}

// follow goes after a link that was moved to another network namespace. If it
// was deleted, there is nothing more to watch. If the kernel does not say where
// it is (before Linux 5.2), it counts as up from now on.
func (w *watcher) follow() bool {
	t := w.tun
	fd, name, err := t.whereabouts()
	if errors.Is(err, unix.EBADFD) {
		return false
	}
	if err == nil {
		ns := netns.NsHandle(fd)
		defer ns.Close()
		err = w.move(ns, name)
	}
	if err == nil {
		return w.look()
	}
	if !w.up {
		w.up = true
		w.tell(tun.EventUp)
	}
	return false
}

// whereabouts returns a descriptor of the link's network namespace, and the
// link's name there.
func (t *TUN) whereabouts() (fd int, name string, err error) {
	control := t.raw.Control(func(tun uintptr) {
		if name, _, err = attached(int(tun)); err == nil {
			fd, err = unix.IoctlRetInt(int(tun), unix.TUNGETDEVNETNS)
		}
	})
	return fd, name, errors.Join(control, err)
}

// move makes everything happen in another network namespace.
func (w *watcher) move(ns netns.NsHandle, name string) error {
	changes, err := nl.SubscribeAt(ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return err
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		changes.Close()
		return err
	}
	link, err := handle.LinkByName(name)
	if err != nil {
		changes.Close()
		handle.Close()
		return err
	}
	t := w.tun
	t.configMu.Lock()
	t.handle.Close()
	t.handle, t.index = handle, link.Attrs().Index
	t.configMu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes.Close()
	w.changes = changes
	return nil
}

// close ends the watcher and waits for it.
func (w *watcher) close() {
	if w == nil {
		return
	}
	close(w.done)
	w.mu.Lock()
	w.changes.Close()
	w.mu.Unlock()
	w.stopped.Wait()
}
