package rig

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/wirespan/wirespan/mesh"
)

// Subjects that need no driver.
const (
	subjectRaw         = "raw"
	subjectKernel      = "kernel"
	subjectUpstream    = "wireguard-go"
	subjectUpstreamNet = "wireguard-go-netstack"
	subjectTUN         = "wirespan-tun"
	subjectNetstack    = "wirespan-netstack"
	subjectSOCKS       = "wirespan-socks"
	subjectHTTP        = "wirespan-http"
	subjectForward     = "wirespan-forward"
	subjectRelay       = "wirespan-relay"
)

// subject is a tunnel that can be measured, or the plain link.
type subject struct {
	name, description string
	privileged        bool    // needs root, to create links
	inside            bool    // runs in the agent's process
	special           bool    // runs only if it is named
	streams           bool    // carries no datagrams
	driver            *driver // nil: built in
}

// builtin returns the subjects that need no driver.
func builtin() []subject {
	return []subject{
		{name: subjectRaw, description: "no tunnel: the upper bound"},
		{name: subjectKernel, description: "the kernel's WireGuard; its CPU time and memory are not measured", privileged: true},
		{name: subjectUpstream, description: "upstream's program on a TUN interface", privileged: true},
		{name: subjectUpstreamNet, description: "upstream's netstack inside the load generator; gVisor's TCP with its own congestion control", inside: true},
		{name: subjectTUN, description: "wirespan's data plane on a TUN interface", privileged: true},
		{name: subjectNetstack, description: "wirespan's netstack inside the load generator; gVisor's TCP with its own congestion control", inside: true},
		{name: subjectSOCKS, description: "wirespan-netstack through its SOCKS5 proxy, by loopback", inside: true, special: true, streams: true},
		{name: subjectHTTP, description: "wirespan-netstack through its HTTP proxy (CONNECT), by loopback", inside: true, special: true, streams: true},
		{name: subjectForward, description: "wirespan-netstack, at the far end forwarded to a server by loopback", inside: true, special: true},
		{name: subjectRelay, description: "wirespan-tun through a relay at the far end's host, whose process counts as the server's", privileged: true, special: true},
	}
}

// opening tells an agent which subject to bring up, and how.
type opening struct {
	Subject  string
	Tunnel   tunnel
	External *external `json:",omitempty"` // the subject is a driver's
	Program  string    `json:",omitempty"` // path of wireguard-go
	Self     []string  // command of this program, for a device in its own process
	Procs    int       // GOMAXPROCS; 0: all cores
}

// tunnel is one end of a WireGuard tunnel. The key is created for one run, and is
// sent by the engine to its own children only.
type tunnel struct {
	Key         string // private, base64
	PeerKey     mesh.Key
	Port        uint16         // 0: any
	Peer        netip.AddrPort // the peer's endpoint; invalid: the peer initiates
	Relay       netip.AddrPort // by which the peer is reached; invalid: directly
	Address     netip.Addr
	PeerAddress netip.Addr
	Underlay    netip.Addr
	MTU         int
	Interface   string
}

// request returns the tunnel in WireGuard's configuration protocol.
func (t *tunnel) request() (string, error) {
	key, err := mesh.ParsePrivateKey(t.Key)
	if err != nil {
		return "", fmt.Errorf("tunnel's private key: %w", err)
	}
	raw := key.Reveal()
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\nlisten_port=%d\n", hex.EncodeToString(raw[:]), t.Port)
	fmt.Fprintf(&b, "public_key=%s\nallowed_ip=%s/32\n", hex.EncodeToString(t.PeerKey[:]), t.PeerAddress)
	if t.Peer.IsValid() {
		fmt.Fprintf(&b, "endpoint=%s\n", t.Peer)
	}
	return b.String(), nil
}

// prefix returns the tunnel's address with the prefix length for its link.
func (t *tunnel) prefix() netip.Prefix { return netip.PrefixFrom(t.Address, 24) }

// environment returns what a Go subject's process needs in its environment.
func (o *opening) environment() []string {
	if o.Procs == 0 {
		return nil
	}
	return []string{fmt.Sprintf("GOMAXPROCS=%d", o.Procs)}
}

// open brings a subject up.
func (a *agent) open(ctx context.Context, o *opening) (*opened, error) {
	switch {
	case o.External != nil:
		return a.openExternal(ctx, o)
	case o.Subject == subjectRaw:
		return a.openRaw(o)
	case o.Subject == subjectKernel:
		return openKernel(&o.Tunnel)
	case o.Subject == subjectUpstream:
		return a.openUpstream(ctx, o)
	case o.Subject == subjectUpstreamNet:
		return a.openUpstreamNetstack(&o.Tunnel)
	case o.Subject == subjectTUN:
		return a.openTUN(o)
	case o.Subject == subjectNetstack:
		return a.openNetstack(&o.Tunnel)
	case o.Subject == subjectSOCKS:
		return a.openProxy(&o.Tunnel, askSOCKS)
	case o.Subject == subjectHTTP:
		return a.openProxy(&o.Tunnel, askHTTP)
	case o.Subject == subjectForward:
		return a.openForward(ctx, &o.Tunnel)
	case o.Subject == subjectRelay:
		return a.openRelayed(o)
	}
	return nil, fmt.Errorf("unknown subject %q", o.Subject)
}
