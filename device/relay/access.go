package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sort"
	"strconv"
	"time"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/proxied"
)

// Access is how relays are reached. Dial, Resolve and Credentials are required.
type Access struct {
	// Dial connects by UDP, which gives a connected socket, or by TCP. The network is "udp" or
	// "tcp"; the host is an address, except that of a proxy.
	Dial proxied.DialFunc
	// Proxy returns the proxy through which an address is reached by TCP; nil: none. A nil
	// function stands for what the environment says.
	Proxy func(addr string) (*url.URL, error)
	// Resolve looks up the names of servers that are no members.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Credentials returns what to present to a relay now. The time is the relay's, if that tells
	// it; else zero. Nothing authenticates it.
	Credentials func(r mesh.Relay, relay time.Time) Credentials
}

func (a *Access) complete() error {
	if a.Dial == nil || a.Resolve == nil || a.Credentials == nil {
		return errors.New("relays: Dial, Resolve and Credentials are required")
	}
	return nil
}

// Times of a try. UDP is quick where it passes at all.
const (
	nextServer  = 250 * time.Millisecond // later than the server before it
	streamAfter = 700 * time.Millisecond
	lookUpTime  = 5 * time.Second
)

// maxServers is how many addresses of a relay are tried.
const maxServers = 4

// way is one way to a relay.
type way struct {
	transport string         // as RelayStatus says
	server    netip.AddrPort // zero: a proxy looks it up
	after     time.Duration  // since the try began
	stream    bool
	dial      func(context.Context) (net.Conn, error)
}

// ways returns how to reach a relay, in the order in which to try.
func (a *Access) ways(ctx context.Context, r mesh.Relay) ([]way, error) {
	if r.NodeID == "" {
		return a.foreign(ctx, r.Other)
	}
	if len(r.Servers) == 0 {
		return nil, errors.New("the member names no address of its relay")
	}
	// The certificate of a member is not verified. Requests and answers are authenticated both
	// ways by MESSAGE-INTEGRITY, with a key that follows from the cluster's secret, and packets
	// are WireGuard's: TLS is only there to pass firewalls and proxies.
	unverified := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: []string{ALPN}} //nolint:gosec // see above
	servers := r.Servers[:min(len(r.Servers), maxServers)]
	ways := make([]way, 0, 2*len(servers))
	for i, server := range servers {
		ways = append(ways, a.datagrams(server, time.Duration(i)*nextServer))
	}
	for i, server := range servers {
		ways = append(ways, a.stream(server.String(), server, unverified, streamAfter+time.Duration(i)*nextServer))
	}
	sort.SliceStable(ways, func(i, j int) bool { return ways[i].after < ways[j].after })
	return ways, nil
}

// foreign returns how to reach a server that is no member.
func (a *Access) foreign(ctx context.Context, u mesh.RelayServer) ([]way, error) {
	var verified *tls.Config
	if u.Transport == mesh.RelayTLS {
		verified = &tls.Config{ServerName: u.Host, MinVersion: tls.VersionTLS12, NextProtos: []string{ALPN}}
	}
	addr := net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port)))
	if u.Transport != mesh.RelayUDP {
		if via, err := a.proxy(addr); via != nil || err != nil { // it looks up the name
			server, _ := netip.ParseAddrPort(addr)
			return []way{a.stream(addr, server, verified, 0)}, nil
		}
	}
	list, err := a.lookUp(ctx, u.Host)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", u.Host, err)
	}
	var ways []way
	for i, ip := range list[:min(len(list), maxServers)] {
		server, after := netip.AddrPortFrom(ip.Unmap(), u.Port), time.Duration(i)*nextServer
		if u.Transport != mesh.RelayUDP {
			ways = append(ways, a.stream(server.String(), server, verified, after))
		} else {
			ways = append(ways, a.datagrams(server, after))
		}
	}
	return ways, nil
}

func (a *Access) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	list, err := a.Resolve(ctx, host)
	if err == nil && len(list) == 0 {
		err = errors.New("it has no address")
	}
	return list, err
}

func (a *Access) proxy(addr string) (*url.URL, error) {
	if a.Proxy != nil {
		return a.Proxy(addr)
	}
	return proxied.For(addr)
}

func (a *Access) datagrams(server netip.AddrPort, after time.Duration) way {
	return way{transport: "udp", server: server, after: after, dial: func(ctx context.Context) (net.Conn, error) {
		return a.Dial(ctx, "udp", server.String())
	}}
}

// stream returns a way by TCP, or by TLS if it has a configuration, through the proxy if there is
// one for the address.
func (a *Access) stream(addr string, server netip.AddrPort, secure *tls.Config, after time.Duration) way {
	w := way{transport: "tcp", server: server, after: after, stream: true}
	if secure != nil {
		w.transport = "tls"
	}
	via, wrong := a.proxy(addr)
	if via != nil {
		w.transport += " by proxy"
	}
	w.dial = func(ctx context.Context) (conn net.Conn, err error) {
		switch {
		case wrong != nil:
			return nil, wrong
		case via != nil:
			conn, err = proxied.Dial(ctx, a.Dial, via, addr)
		default:
			conn, err = a.Dial(ctx, "tcp", addr)
		}
		if err != nil || secure == nil {
			return conn, err
		}
		t := tls.Client(conn, secure)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return t, nil
	}
	return w
}
