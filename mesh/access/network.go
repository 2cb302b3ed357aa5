package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
)

// Directory tells what the agent knows now. *[agent.Agent] is one.
type Directory interface {
	Names() *mesh.Names
	Reach(netip.Addr) agent.Reach
	// Peer returns the mesh address of the peer that may send from an address, and the names
	// by which rules know it.
	Peer(netip.Addr) (address netip.Addr, names []string)
}

// Plane opens sockets in the mesh. That of a TUN's node opens sockets of the kernel.
type Plane interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// ListenUDP and ListenTCP take the mesh address, or [::] for a socket of both IP versions.
	ListenUDP(at netip.AddrPort) (net.PacketConn, error)
	ListenTCP(at netip.AddrPort) (net.Listener, error)
}

// Outside is this host's network, for destinations that the mesh does not own.
type Outside struct {
	Resolve     func(ctx context.Context, name string) ([]netip.Addr, error)
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	ListenUDP   func() (net.PacketConn, error) // nil: sockets of the plane reach the outside, too
	// Local reports whether what this host sends to an address stays here, or goes to all of a
	// link; nil: only addresses that say so themselves.
	Local func(netip.Addr) bool
}

// Network is what programs reach: the mesh and, with an outside, what this host reaches. It
// is safe for concurrent use.
type Network struct {
	directory Directory
	plane     Plane
	outside   *Outside // nil: none
}

// NewNetwork returns a network. A nil outside refuses what the mesh does not own.
func NewNetwork(d Directory, p Plane, outside *Outside) *Network { return &Network{d, p, outside} }

// dialTimeout bounds a connection attempt, and lookupTimeout a query for a name outside.
const (
	dialTimeout   = 15 * time.Second
	lookupTimeout = 5 * time.Second
)

// refusal is why a destination is not reached. It wraps the system's error of the same meaning,
// by which a proxy tells its clients.
type refusal struct {
	text string
	like syscall.Errno
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.like }

var (
	errNotAllowed  = &refusal{"not allowed", syscall.EACCES}
	errUnreachable = &refusal{"unreachable", syscall.ENETUNREACH}
	errNoSuchHost  = &refusal{"no such host", syscall.EHOSTUNREACH}
)

// DialContext connects to host:port. The network is tcp or udp, with or without 4 or 6. Of
// the addresses of a name the first that answers is taken.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	host, port, err := splitHostPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	targets, err := n.resolve(ctx, host, port)
	if err != nil {
		return nil, err
	}
	var failed []error
	for i, t := range targets {
		if !fits(network, t.Addr()) {
			continue
		}
		conn, err := n.dial(ctx, len(targets)-i, network, t)
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err) // names the address
	}
	if failed == nil {
		return nil, fmt.Errorf("%w: %s has no address for %s", errNoSuchHost, host, network)
	}
	return nil, errors.Join(failed...)
}

// dial connects to one of several targets that are left, in its share of the time.
func (n *Network) dial(ctx context.Context, left int, network string, t target) (net.Conn, error) {
	if until, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(until)/time.Duration(left))
		defer cancel()
	}
	if t.outside {
		return n.outside.DialContext(ctx, network, t.String())
	}
	return n.plane.DialContext(ctx, network, t.String())
}

// target is an address that a program may reach, and how.
type target struct {
	netip.AddrPort
	outside bool
}

// resolve returns where a host is. A name is one of the mesh if it can be.
func (n *Network) resolve(ctx context.Context, host string, port uint16) ([]target, error) {
	addrs, err := n.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var targets []target
	var refused error
	for _, a := range addrs {
		outside, err := n.admit(a)
		if err != nil {
			refused = err
			continue
		}
		targets = append(targets, target{netip.AddrPortFrom(a, port), outside})
	}
	if len(targets) == 0 {
		return nil, refused
	}
	return targets, nil
}

// Lookup returns the mesh's addresses of a name, or an address itself.
func (n *Network) Lookup(host string) ([]netip.Addr, error) {
	inside := Network{directory: n.directory}
	return inside.lookup(context.Background(), host)
}

// lookup returns at least one address of a host, or an error.
func (n *Network) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	addrs, ours := n.directory.Names().Search(host)
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case ours, n.outside == nil:
		return nil, fmt.Errorf("%w: no node of the mesh is named %.255q", errNoSuchHost, host)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addrs, err := n.outside.Resolve(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %.255q: %w", errNoSuchHost, host, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}

// admit reports whether an address is outside of the mesh, or why no program may reach it.
func (n *Network) admit(a netip.Addr) (outside bool, err error) {
	switch n.directory.Reach(a) {
	case agent.ReachMesh:
		return false, nil
	case agent.ReachOwn:
		return false, fmt.Errorf("%w: %v is an address of this host", errNotAllowed, a)
	case agent.ReachRefused:
		return false, fmt.Errorf("%w: %v belongs to the mesh, but to no peer of this node now", errUnreachable, a)
	}
	switch {
	case n.outside == nil:
		return false, fmt.Errorf("%w: %v is outside of the mesh (proxy.egress is mesh)", errNotAllowed, a)
	case n.local(a):
		return false, fmt.Errorf("%w: %v is only for this host or its links", errNotAllowed, a)
	}
	if inner, ok := embedded(a); ok && (n.directory.Reach(inner) != agent.ReachOutside || n.local(inner)) {
		return false, fmt.Errorf("%w: %v leads to %v, which is in the mesh, or only for this host or its links", errNotAllowed, a, inner)
	}
	return true, nil
}

// local reports whether an address must not be reached on behalf of others: it is of this
// host or its links, of a group, or tells secrets of this host.
func (n *Network) local(a netip.Addr) bool {
	return isLocal(a) || n.outside.Local != nil && n.outside.Local(a)
}

// metadata are the addresses, other than link-local ones, at which clouds tell a host its
// credentials: Amazon, Google, Alibaba, Azure.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"),
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"),
}

// translated are networks in whose last 32 bits a translator finds an IPv4 address (RFC 6052,
// 8215, 2765), or a tunnel did (RFC 4291 §2.5.5.1).
var translated = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("::ffff:0:0:0/96"), netip.MustParsePrefix("::/96"),
}

// sixToFour are addresses whose packets are tunnelled to the IPv4 address that follows (RFC
// 3056).
var sixToFour = netip.MustParsePrefix("2002::/16")

// embedded returns the IPv4 address to which packets to an IPv6 address may lead.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	if sixToFour.Contains(a) {
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.AddrFrom4([4]byte(b[12:])), slices.ContainsFunc(translated, func(p netip.Prefix) bool { return p.Contains(a) })
}

func isLocal(a netip.Addr) bool {
	return slices.Contains(metadata, a) || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() ||
		a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240) // "this network", reserved and broadcast
}

// fits reports whether the network includes the IP version of an address.
func fits(network string, a netip.Addr) bool {
	switch network[len(network)-1] {
	case '4':
		return a.Is4()
	case '6':
		return a.Is6()
	}
	return true
}

func splitHostPort(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%.20q is not a port number (1 to 65535)", text)
	}
	return host, uint16(n), nil
}
