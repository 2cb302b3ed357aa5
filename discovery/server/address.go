package server

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// clientAddr returns the address that a request comes from: X-Real-IP, else the
// first entry of X-Forwarded-For, each only if it is trusted and an IP address,
// else the TCP peer. On a connection without IP addresses it returns the zero Addr.
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
	a, _ := netip.ParseAddr(strings.TrimSpace(first)) // the zero Addr if it is no address
	return a.Unmap().WithZone("")
}

// netAddr returns the IP address of a TCP address, without its zone, which means
// nothing on another host.
func netAddr(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
