package tun

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// checkInterval is how often the link is checked if the kernel reports no changes.
const checkInterval = time.Second

// watcher sends events when the link goes up or down or gets another MTU. A nil
// watcher does nothing.
type watcher struct {
	tun     *TUN
	done    chan struct{}
	stopped sync.WaitGroup
	up      bool // as in the last event

	mu      sync.Mutex // guards changes
	changes *nl.NetlinkSocket
}

// watched starts the watcher. If that fails, it closes the interface.
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
	defer func() { w.changes.Close() }() // the latest one, which close may not have seen
	for w.check() {
		w.mu.Lock()
		changes := w.changes
		w.mu.Unlock()
		select {
		case <-w.done:
			return
		default:
		}
		// After an error, changes may have been missed, or close was called. In
		// either case the link itself is checked.
		if err := w.await(changes); err != nil && !errors.Is(err, unix.ENOBUFS) && w.locate() != nil {
			w.rest()
		}
	}
}

// await blocks until an event is about the link, or the socket fails.
func (w *watcher) await(changes *nl.NetlinkSocket) error {
	for {
		events, _, err := changes.Receive()
		if err != nil {
			return err
		}
		for i := range events {
			if data := events[i].Data; len(data) < unix.SizeofIfInfomsg || nl.DeserializeIfInfomsg(data).Index == int32(w.tun.index) {
				return nil
			}
		}
	}
}

// rest waits before the link is checked again without a socket that reports changes.
func (w *watcher) rest() {
	again := time.NewTimer(checkInterval)
	defer again.Stop()
	select {
	case <-w.done:
	case <-again.C:
	}
}

// check sends an event for what has changed. It returns false if there is nothing
// more to watch.
func (w *watcher) check() bool {
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
	return e == 0 || w.send(e)
}

// send returns false if the watcher was closed instead.
func (w *watcher) send(e tun.Event) bool {
	select {
	case w.tun.events <- e:
		return true
	case <-w.done:
		return false
	}
}

// follow follows a link that was moved to another network namespace. If the link was
// deleted, there is nothing more to watch. If the kernel can't tell where it is
// (before Linux 5.2), the link counts as up from now on.
func (w *watcher) follow() bool {
	err := w.locate()
	if errors.Is(err, unix.EBADFD) {
		return false
	}
	if err == nil {
		return w.check()
	}
	if !w.up {
		w.up = true
		w.send(tun.EventUp)
	}
	return false
}

// locate subscribes anew to changes of the link, in the network namespace where it is now.
func (w *watcher) locate() error {
	fd, name, err := w.tun.namespace()
	if err != nil {
		return err
	}
	ns := netns.NsHandle(fd)
	defer ns.Close()
	return w.move(ns, name)
}

// namespace returns a descriptor of the link's network namespace, and the link's name
// there.
func (t *TUN) namespace() (fd int, name string, err error) {
	control := t.raw.Control(func(tun uintptr) {
		if name, _, err = attached(int(tun)); err == nil {
			fd, err = unix.IoctlRetInt(int(tun), unix.TUNGETDEVNETNS)
		}
	})
	return fd, name, errors.Join(control, err)
}

// move switches to the link of that name in another network namespace.
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
