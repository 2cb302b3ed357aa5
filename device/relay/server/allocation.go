package server

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/time/rate"

	"github.com/wirespan/wirespan/device/burst"
	"github.com/wirespan/wirespan/device/relay/turn"
	"github.com/wirespan/wirespan/mesh"
)

// Bounds of what strangers may send.
const (
	strangersPerSecond = 10
	strangersBurst     = 50
	maxAdmitted        = 64
	// admission is how long a stranger whose initiation was let in may be answered.
	admission = time.Minute
)

// allocation is a relayed socket. For pion it is a net.PacketConn, whose ReadFrom returns
// nothing but the error that ends it: what peers send is relayed in there.
type allocation struct {
	noDeadlines
	front   *front
	socket  burst.Socket
	close   func() error // the socket
	relayed netip.AddrPort
	user    string
	usage   *usage
	macKey  atomic.Pointer[[blake2s.Size]byte] // of the owner; nil: no stranger is let in

	client atomic.Pointer[netip.AddrPort]
	ended  bool         // guarded by the front's lock
	writer writer       // to the client; set before ReadFrom is called
	last   atomic.Int64 // when the client last asked for something, in Unix nanoseconds

	bandwidth, strangers *rate.Limiter
	once                 sync.Once

	mu        sync.RWMutex
	permitted map[netip.Addr]struct{}
	channels  map[uint16]netip.AddrPort
	peers     map[netip.AddrPort]uint16 // channels by peer
	admitted  map[netip.AddrPort]time.Time
}

// sendChannel relays data of a channel to its peer.
func (a *allocation) sendChannel(number uint16, data []byte, now time.Time, out *outward) {
	a.mu.RLock()
	to, ok := a.channels[number]
	a.mu.RUnlock()
	if !ok {
		a.usage.dropped.Add(1)
		return
	}
	a.send(data, to, now, out)
}

// sendTo relays the data of an indication to a peer that is permitted, or whose initiation was
// let in.
func (a *allocation) sendTo(data []byte, to netip.AddrPort, now time.Time, out *outward) {
	a.mu.RLock()
	_, ok := a.permitted[to.Addr()]
	until := a.admitted[to]
	a.mu.RUnlock()
	if !ok && (until.IsZero() || now.After(until)) {
		a.usage.dropped.Add(1)
		return
	}
	a.send(data, to, now, out)
}

func (a *allocation) send(data []byte, to netip.AddrPort, now time.Time, out *outward) {
	if to.Addr().Is6() != a.relayed.Addr().Is6() || !a.front.s.allowsPort(to) || !a.admit(len(data), now) {
		a.usage.dropped.Add(1)
		return
	}
	out.add(a, data, to)
}

// admit reports whether a packet is within the bounds of bandwidth.
func (a *allocation) admit(size int, now time.Time) bool {
	if !a.bandwidth.AllowN(now, size) || !a.front.s.total.AllowN(now, size) {
		return false
	}
	a.usage.packets.Add(1)
	return true
}

// ReadFrom relays what peers send, until the socket is closed.
func (a *allocation) ReadFrom([]byte) (int, net.Addr, error) {
	in := inward{a: a, run: burst.NewRun(), scratch: make([]byte, 0, turn.MaxMessage)}
	buf := make([]byte, burst.Size)
	var errs readErrors
	for {
		n, size, from, err := a.socket.ReadBurst(buf)
		if errs.end(err) {
			return 0, nil, err
		}
		if err == nil {
			in.relay(buf[:n], size, from)
		}
	}
}

// setOwner has strangers be let in who look for the owner of a public key.
func (a *allocation) setOwner(k mesh.Key) {
	if k.IsZero() {
		a.macKey.Store(nil)
		return
	}
	mac := macKey(k)
	a.macKey.Store(&mac)
}

// admitStranger reports whether a packet of an unknown peer is an initiation to the owner. The
// peer may then be answered for a while.
func (a *allocation) admitStranger(b []byte, from netip.AddrPort, now time.Time) bool {
	mac := a.macKey.Load()
	if mac == nil || len(b) != initiationSize || !a.strangers.AllowN(now, 1) || !isInitiation(b, mac) || !a.front.s.allowsAddress(from.Addr()) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for peer, until := range a.admitted {
		if now.After(until) {
			delete(a.admitted, peer)
		}
	}
	for peer := range a.admitted {
		if len(a.admitted) < maxAdmitted {
			break
		}
		delete(a.admitted, peer)
	}
	a.admitted[from] = now.Add(admission)
	return true
}

// WriteTo is pion's, which never gets data to write.
func (a *allocation) WriteTo(b []byte, to net.Addr) (int, error) {
	out := outward{run: burst.NewRun()}
	a.sendTo(b, addrPortOf(to), time.Now(), &out)
	out.flush()
	return len(b), nil
}

// Close ends the allocation.
func (a *allocation) Close() (err error) {
	a.once.Do(func() {
		err = a.close()
		f := a.front
		f.mu.Lock()
		a.ended = true
		if client := *a.client.Load(); f.clients[client] == a {
			delete(f.clients, client)
			if st := f.streams[client]; st != nil {
				_ = st.SetReadDeadline(time.Now().Add(untilAllocated))
			}
		}
		f.mu.Unlock()
		f.s.mu.Lock()
		delete(f.s.live, a.relayed)
		f.s.mu.Unlock()
		f.s.group.Done()
	})
	return err
}

// LocalAddr returns the relayed address.
func (a *allocation) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(a.relayed) }
