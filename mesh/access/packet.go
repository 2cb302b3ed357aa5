//go:build !edge

package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wirespan/wirespan/device/proxy"
	"github.com/wirespan/wirespan/device/splice"
)

const (
	// maxCorrespondents bounds the addresses from which an association takes datagrams.
	maxCorrespondents = 1024
	// maxResolved and resolvedTime bound what an association remembers of its destinations,
	// so that not each datagram asks the agent, and a name is not a query each time.
	maxResolved  = 64
	resolvedTime = 10 * time.Second
)

// ListenPacket opens an association: a socket for any number of destinations. It receives
// from the addresses to which it has sent, and from no others.
func (n *Network) ListenPacket(ctx context.Context) (proxy.PacketConn, error) {
	inside, err := n.plane.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
	if err != nil {
		return nil, err
	}
	a := &association{network: n, inside: inside, outer: inside, resolved: map[string]destination{}, known: map[netip.Addr]bool{}}
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if n.outside == nil || n.outside.ListenUDP == nil {
		return a, nil
	}
	if a.outer, err = n.outside.ListenUDP(); err != nil {
		return nil, errors.Join(err, inside.Close())
	}
	a.turns = make(chan turn)
	for _, c := range []net.PacketConn{a.inside, a.outer} {
		a.waiters.Go(func() { a.wait(c) })
	}
	return a, nil
}

// association is a socket in the mesh and one outside, which may be the same.
type association struct {
	network       *Network
	ctx           context.Context // until Close
	cancel        context.CancelFunc
	inside, outer net.PacketConn

	turns   chan turn // of both sockets; nil if they are one
	waiters sync.WaitGroup
	turn    *turn // that WaitReadable has taken for ReadFrom

	mu       sync.Mutex // guards what follows
	resolved map[string]destination
	known    map[netip.Addr]bool // correspondents, and whether they are outside
}

type destination struct {
	target
	until time.Time
}

// turn is a socket's turn: it has a datagram, or an error. done ends it.
type turn struct {
	socket net.PacketConn
	err    error
	done   chan struct{}
}

// ReadFrom returns the next datagram of a correspondent.
func (a *association) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := a.read(p)
		if err != nil || from.IsValid() {
			return n, from, err
		}
	}
}

// WaitReadable returns when a datagram is there: an idle association then holds no buffer of
// its reader.
func (a *association) WaitReadable() error {
	if a.turns == nil {
		return splice.WaitReadable(a.inside)
	}
	if a.turn != nil {
		return nil
	}
	select {
	case t := <-a.turns:
		a.turn = &t
		return nil
	case <-a.ctx.Done():
		return net.ErrClosed
	}
}

// read reads a datagram. Its source is invalid if that is no correspondent.
func (a *association) read(p []byte) (int, netip.AddrPort, error) {
	socket := a.inside
	if a.turns != nil {
		if err := a.WaitReadable(); err != nil {
			return 0, netip.AddrPort{}, err
		}
		t := a.turn
		a.turn = nil
		defer close(t.done)
		if t.err != nil {
			return 0, netip.AddrPort{}, t.err
		}
		socket = t.socket
	}
	n, from, err := readFrom(socket, p)
	if err == nil && !a.knows(from.Addr(), socket) {
		return 0, netip.AddrPort{}, nil
	}
	return n, from, err
}

// wait gives one of two sockets its turns until Close. Sockets of the kernel and of the
// netstack can tell when they are readable.
func (a *association) wait(c net.PacketConn) {
	for {
		t := turn{c, splice.WaitReadable(c), make(chan struct{})}
		select {
		case a.turns <- t:
		case <-a.ctx.Done():
			return
		}
		select {
		case <-t.done:
		case <-a.ctx.Done():
			return
		}
		if t.err != nil {
			return
		}
	}
}

func readFrom(c net.PacketConn, p []byte) (int, netip.AddrPort, error) {
	n, from, err := c.ReadFrom(p)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return 0, netip.AddrPort{}, fmt.Errorf("a datagram from %v, which is no UDP address", from)
	}
	at := u.AddrPort()
	return n, netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()), nil
}

// knows reports whether an address is that of a correspondent on the side of a socket: what
// comes from outside under an address of the mesh is forged.
func (a *association) knows(addr netip.Addr, socket net.PacketConn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	outside, known := a.known[addr]
	return known && (a.inside == a.outer || outside == (socket == a.outer))
}

// WriteTo sends a datagram to an address or a name.
func (a *association) WriteTo(p []byte, host string, port uint16) (int, error) {
	t, err := a.resolve(host, port)
	if err != nil {
		return 0, err
	}
	socket := a.inside
	if t.outside {
		socket = a.outer
	}
	return socket.WriteTo(p, net.UDPAddrFromAddrPort(t.AddrPort))
}

// resolve returns where to send, and makes the address a correspondent.
func (a *association) resolve(host string, port uint16) (target, error) {
	now := time.Now()
	a.mu.Lock()
	r, ok := a.resolved[host]
	a.mu.Unlock()
	if ok && now.Before(r.until) {
		return target{netip.AddrPortFrom(r.Addr(), port), r.outside}, nil
	}
	targets, err := a.network.resolve(a.ctx, host, port)
	if err != nil {
		return target{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.resolved) >= maxResolved {
		clear(a.resolved)
	}
	a.resolved[host] = destination{targets[0], now.Add(resolvedTime)}
	if len(a.known) >= maxCorrespondents {
		clear(a.known) // those that are still in use come back with the next datagram sent
		clear(a.resolved)
	}
	a.known[targets[0].Addr()] = targets[0].outside
	return targets[0], nil
}

// Close closes the sockets, and returns when nobody waits for them any more.
func (a *association) Close() error {
	a.cancel()
	err := a.inside.Close()
	if a.outer != a.inside {
		err = errors.Join(err, a.outer.Close())
	}
	a.waiters.Wait()
	return err
}
