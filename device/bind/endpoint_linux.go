package bind

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// endpoint is a peer's address and the source to answer from. It holds both in the
// form that the kernel takes, too.
type endpoint struct {
	dst     netip.AddrPort
	src     netip.Addr // invalid if the endpoint was made without one
	ifindex uint32     // the interface of src

	name       [unix.SizeofSockaddrInet6]byte
	nameLen    uint32
	control    [controlSize]byte // the source, controlLen bytes
	controlLen int

	cleared atomic.Bool // the source must not be used again
	// The result of looking the source up in the routes, and their generation.
	checked    atomic.Uint64 // 1 + the generation; 0: not looked up yet
	mismatched atomic.Bool   // routes send packets from src out by another interface
}

var _ conn.Endpoint = (*endpoint)(nil)

// newEndpoint returns an endpoint without a source. scope is the index of the
// interface of a link-local address.
func newEndpoint(dst netip.AddrPort, scope uint32) *endpoint {
	e := &endpoint{dst: dst}
	binary.BigEndian.PutUint16(e.name[2:], dst.Port())
	if dst.Addr().Is4() {
		binary.NativeEndian.PutUint16(e.name[:], unix.AF_INET)
		a := dst.Addr().As4()
		copy(e.name[4:], a[:])
		e.nameLen = unix.SizeofSockaddrInet4
		return e
	}
	binary.NativeEndian.PutUint16(e.name[:], unix.AF_INET6)
	a := dst.Addr().As16()
	copy(e.name[8:], a[:])
	binary.NativeEndian.PutUint32(e.name[24:], scope)
	e.nameLen = unix.SizeofSockaddrInet6
	return e
}

// setSource sets the source of a new endpoint.
func (e *endpoint) setSource(src netip.Addr, ifindex uint32) {
	e.src, e.ifindex = src, ifindex
	e.controlLen = putSource(e.control[:], src, ifindex)
}

// ParseEndpoint returns the endpoint for ip:port.
func (b *Bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	dst, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", s, err)
	}
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	scope, err := scopeOf(dst.Addr().Zone())
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", s, err)
	}
	return newEndpoint(dst, scope), nil
}

// scopeOf returns the index of the interface that a zone names.
func scopeOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(link.Index), nil
}

// zoneOf returns the name of the interface with that index.
func zoneOf(scope uint32) string {
	if scope == 0 {
		return ""
	}
	if link, err := net.InterfaceByIndex(int(scope)); err == nil {
		return link.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}

// ClearSrc drops the source. The kernel chooses one by its routes then.
func (e *endpoint) ClearSrc() { e.cleared.Store(true) }

// SrcIP returns the address to send from; invalid if the kernel chooses it.
func (e *endpoint) SrcIP() netip.Addr {
	if e.cleared.Load() || e.mismatched.Load() {
		return netip.Addr{}
	}
	return e.src
}

// SrcToString returns the address to send from.
func (e *endpoint) SrcToString() string { return e.SrcIP().String() }

// DstIP returns the peer's address.
func (e *endpoint) DstIP() netip.Addr { return e.dst.Addr() }

// AddrPort returns the peer's address and port.
func (e *endpoint) AddrPort() netip.AddrPort { return e.dst }

// DstToString returns the peer's address and port.
func (e *endpoint) DstToString() string { return e.dst.String() }

// DstToBytes returns the peer's address and port in the form to which cookies are
// bound.
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.dst.MarshalBinary() // never fails
	return b
}

// useSource reports whether to send from the endpoint's source. Once per generation
// it asks the routing table whether packets from the source leave by the interface
// at which the peer's packet arrived. If they do not, the interface must not be
// named: the kernel would look for the peer on that link.
func (b *Bind) useSource(e *endpoint) bool {
	if !e.src.IsValid() || e.cleared.Load() {
		return false
	}
	now := uint64(b.generation.Load()) + 1
	// Routes do not decide by which interface packets to a link-local address leave.
	if e.checked.Load() != now && !e.dst.Addr().IsLinkLocalUnicast() {
		b.mu.Lock()
		r := b.routes
		b.mu.Unlock()
		e.mismatched.Store(!r.leavesBy(int(e.ifindex), e.src, e.dst.Addr(), b.mark.Load()))
		e.checked.Store(now)
	}
	return !e.mismatched.Load()
}
