package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wirespan/wirespan/device/splice"
)

// association relays the datagrams of a client.
type association struct {
	*service
	relay  *net.UDPConn // towards the client
	far    PacketConn
	from   netip.Addr                     // of the client
	client atomic.Pointer[netip.AddrPort] // once it is known
	seen   atomic.Int64                   // datagrams sent, for the idle time-out
}

// associate is the command UDP ASSOCIATE. The hint says from where the client will send,
// or is zero.
func (v *service) associate(ctx context.Context, c *client, hint target) error {
	local, ok := c.LocalAddr().(*net.TCPAddr)
	remote := addrPort(c.RemoteAddr())
	if !ok || !remote.IsValid() {
		return &replyError{replyCommand, "UDP ASSOCIATE needs a proxy on TCP: its datagrams have no address here"}
	}
	if !takeSlot(&v.counters.associations, v.limits.Associations) {
		v.counters.associationsRefused.Add(1)
		v.warn("too many UDP associations; new ones are refused", "limit", v.limits.Associations)
		return &replyError{replyFailure, "too many UDP associations"}
	}
	defer v.counters.associations.Add(-1)
	far, err := v.network.ListenPacket(ctx)
	if err != nil {
		return &replyError{replyOf[failureOf(err)], fmt.Sprintf("open a socket for UDP: %s", err)}
	}
	defer far.Close()
	relay, err := net.ListenUDP("udp", &net.UDPAddr{IP: local.IP, Zone: local.Zone})
	if err != nil {
		return &replyError{replyFailure, fmt.Sprintf("open a relay for UDP: %s", err)}
	}
	defer relay.Close()
	a := &association{service: v, relay: relay, far: far, from: remote.Addr()}
	a.takeHint(hint)
	if _, err := c.Write(socksReply(replySucceeded, addrPort(relay.LocalAddr()))); err != nil {
		return nil // the client is gone
	}
	a.run(ctx, c)
	return nil
}

// takeHint notes the port that the client says it will send from. A client behind NAT
// names an address and port that nobody sees here: they don't count.
func (a *association) takeHint(hint target) {
	ip, err := netip.ParseAddr(hint.host)
	if err != nil || hint.port == 0 || !ip.IsUnspecified() && ip != a.from.WithZone("") {
		return
	}
	from := netip.AddrPortFrom(a.from, hint.port)
	a.client.Store(&from)
}

// run relays until the client's connection ends, nothing has moved for too long, a socket
// fails, or ctx ends.
func (a *association) run(ctx context.Context, c *client) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _, _, _ = c.Close(), a.relay.Close(), a.far.Close() })
	defer stop()
	var work sync.WaitGroup
	for _, f := range []func(){a.up, a.down, func() { a.watchIdle(ctx) }} {
		work.Go(func() {
			defer cancel()
			f()
		})
	}
	_, _ = io.Copy(io.Discard, c.Conn) // a client has nothing to say here but the end
	cancel()
	work.Wait()
}

// watchIdle returns when nothing has moved for the idle time-out, or up to twice that.
func (a *association) watchIdle(ctx context.Context) {
	if a.limits.Idle == 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(a.limits.Idle)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := a.seen.Load()
		if now == before {
			return
		}
		before = now
	}
}

// up relays from the client.
func (a *association) up() {
	for splice.WaitReadable(a.relay) == nil && a.relayUp() == nil {
	}
}

// relayUp relays a datagram. An error ends the association.
func (a *association) relayUp() error {
	buf := datagramBuffers.Get().(*datagramBuffer)
	defer datagramBuffers.Put(buf)
	n, from, err := a.relay.ReadFromUDPAddrPort(buf[:])
	if err != nil {
		return err
	}
	to, data, err := cutDatagram(buf[:n])
	if err != nil || !a.accepts(from) || isSelf(a.relay.LocalAddr(), to) {
		a.counters.dropped.Add(1)
		return nil
	}
	_, err = a.far.WriteTo(data, to.host, to.port)
	return a.count(&a.counters.moved.AToB, len(data), err)
}

// count counts a datagram that was sent, or was not. Of errors it returns those that end
// the association.
func (a *association) count(moved *atomic.Int64, n int, err error) error {
	switch {
	case err == nil:
		a.seen.Add(1)
		moved.Add(int64(n))
	case errors.Is(err, net.ErrClosed):
		return err
	default: // refused, too large, or the other side is gone for now
		a.counters.dropped.Add(1)
	}
	return nil
}

// accepts reports whether a datagram is the client's. The first one, unless there was a
// hint, determines the client's port.
func (a *association) accepts(from netip.AddrPort) bool {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	if from.Addr() != a.from {
		return false
	}
	known := a.client.Load()
	if known == nil {
		a.client.Store(&from)
		return true
	}
	return *known == from
}

// down relays to the client.
func (a *association) down() {
	for splice.WaitReadable(a.far) == nil && a.relayDown() == nil {
	}
}

// relayDown relays a datagram. An error ends the association.
func (a *association) relayDown() error {
	buf := datagramBuffers.Get().(*datagramBuffer)
	defer datagramBuffers.Put(buf)
	n, from, err := a.far.ReadFrom(buf[headroom:])
	if err != nil {
		return err
	}
	to := a.client.Load()
	if to == nil {
		a.counters.dropped.Add(1)
		return nil
	}
	header := appendTarget(make([]byte, 3, headroom), from)
	start := headroom - len(header)
	copy(buf[start:], header)
	_, err = a.relay.WriteToUDPAddrPort(buf[start:headroom+n], *to)
	return a.count(&a.counters.moved.BToA, n, err)
}
