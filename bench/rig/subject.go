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
)

// subject is something to measure, before it is known whether it can run.
type subject struct {
	name, description string
	privileged        bool    // it needs links of its own
	inside            bool    // it runs in the agent's process
	driver            *driver // of an external one
}

func builtin() []subject {
	return []subject{
		{name: subjectRaw, description: "no tunnel: the ceiling"},
		{name: subjectKernel, description: "the kernel's WireGuard; its CPU time and memory can't be told apart", privileged: true},
		{name: subjectUpstream, description: "upstream's program on a TUN interface", privileged: true},
		{name: subjectUpstreamNet, description: "upstream's netstack inside the load generator; gVisor's TCP with its own congestion control", inside: true},
		{name: subjectTUN, description: "wirespan's data plane on a TUN interface", privileged: true},
		{name: subjectNetstack, description: "wirespan's netstack inside the load generator; gVisor's TCP with its own congestion control", inside: true},
	}
}

// opening says which subject an agent brings up, and how.
type opening struct {
	Subject  string
	Tunnel   tunnel
	External *external `json:",omitempty"` // programs of a driver
	Program  string    `json:",omitempty"` // of upstream
	Self     []string  // this program, for a device of its own process
	Procs    int       // GOMAXPROCS; 0: all cores
}

// tunnel is one end of a WireGuard tunnel. The key is made for one run and goes
// from the engine to its own children only.
type tunnel struct {
	Key         string // private, base64
	PeerKey     mesh.Key
	Port        uint16         // 0: any
	Peer        netip.AddrPort // invalid: the peer calls first
	Address     netip.Addr
	PeerAddress netip.Addr
	Underlay    netip.Addr
	MTU         int
	Interface   string
}

// request is the tunnel in WireGuard's configuration protocol.
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

// prefix is the tunnel's address as links have it.
func (t *tunnel) prefix() netip.Prefix { return netip.PrefixFrom(t.Address, 24) }

// environment of a Go subject's process.
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
	}
	return nil, fmt.Errorf("subject %q: there is none of this name", o.Subject)
}
