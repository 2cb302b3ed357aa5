package server

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// clientAddr is who a request comes from: X-Real-IP, then the first entry of
// X-Forwarded-For, each only if trusted and an IP address, then the TCP peer.
// It is the zero Addr on a connection without IP addresses.
func (c *Config) clientAddr(ctx context.Context) netip.Addr {
	if c.TrustXRealIP {
		if a := headerAddr(ctx, "x-real-ip"); a.IsValid() {
			return a
		}
	}
	if c.TrustXForwardedFor {
		if a := headerAddr(ctx, "x-forwarded-for"); a.IsValid() {
			return a
		}
	}
	if p, ok := peer.FromContext(ctx); ok {
		return netAddr(p.Addr)
	}
	return netip.Addr{}
}

func headerAddr(ctx context.Context, name string) netip.Addr {
	values := metadata.ValueFromIncomingContext(ctx, name)
	if len(values) == 0 {
		return netip.Addr{}
	}
	first, _, _ := strings.Cut(values[0], ",")
	a, _ := netip.ParseAddr(strings.TrimSpace(first)) // not an address: not trusted
	return a.Unmap().WithZone("")
}

// netAddr is without zone: a zone means nothing on another host.
func netAddr(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
