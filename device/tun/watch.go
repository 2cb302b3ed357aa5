package tun

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wirespan/wirespan/firewall/netlink"
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
	changes *netlink.Subscription
}

// watched starts the watcher. If that fails, it closes the interface.
func (t *TUN) watched() (*TUN, error) {
	w := &watcher{tun: t, done: make(chan struct{})}
	changes, err := subscribe()
	if err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("watch interface %s: %w", t.name, err)
	}
	w.changes, t.watcher = changes, w
	w.stopped.Go(w.run)
	return t, nil
}

func subscribe() (*netlink.Subscription, error) {
	return netlink.Subscribe(unix.NETLINK_ROUTE, 0, unix.RTNLGRP_LINK)
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
		if changes.Await(w.concerns) != nil && w.locate() != nil {
			w.rest()
		}
	}
}

// concerns reports whether an event is about the link. Only the watcher changes the index.
func (w *watcher) concerns(m netlink.Message) bool {
	return netlink.ParseLink(m).Index == w.tun.index
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
	link, err := t.rt.LinkAt(t.index)
	t.configMu.Unlock()
	switch {
	case err != nil:
		return true
	case link.Index == 0:
		return w.follow()
	}
	var e tun.Event
	if link.Up != w.up {
		w.up = link.Up
		e = tun.EventDown
		if link.Up {
			e = tun.EventUp
		}
	}
	if mtu := int32(link.MTU); t.mtu.Swap(mtu) != mtu {
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
	ns, name, err := w.tun.namespace()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(ns) }()
	var changes *netlink.Subscription
	var rt *netlink.RTNetlink
	err = netlink.InNamespace(ns, func() (err error) {
		if changes, err = subscribe(); err == nil {
			rt, err = netlink.OpenRTNetlink()
		}
		return err
	})
	var link netlink.Link
	if err == nil {
		link, err = find(rt, name)
	}
	if err != nil {
		if changes != nil {
			changes.Close()
		}
		if rt != nil {
			rt.Close()
		}
		return err
	}
	w.move(changes, rt, link.Index)
	return nil
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

// move switches to a link in another network namespace.
func (w *watcher) move(changes *netlink.Subscription, rt *netlink.RTNetlink, index uint32) {
	t := w.tun
	t.configMu.Lock()
	t.rt.Close()
	t.rt, t.index = rt, index
	t.configMu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes.Close()
	w.changes = changes
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
