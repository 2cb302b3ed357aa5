package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

const (
	helloTimeout = 10 * time.Second
	maxRedirects = 3 // in a row
)

// connection is an open connection after Hello.
type connection struct {
	*grpc.ClientConn
	rpc      pb.ClusterClient
	endpoint string     // after redirects
	remote   netip.Addr // of the server, or of the proxy in front of it
	public   netip.Addr // of this host, as the server sees it; zero if it did not say
}

// connect connects to endpoint, follows redirects and sends Hello.
func (c *Client) connect(ctx context.Context, endpoint string) (*connection, error) {
	for range maxRedirects + 1 {
		conn, remote, hello, err := c.hello(ctx, endpoint)
		if err != nil {
			return nil, fmt.Errorf("discovery service %s: %w", endpoint, err)
		}
		if hello.GetRedirect() == nil {
			// An address that does not parse counts as unknown.
			public, _ := codec.ParseAddr(hello.GetClientIp())
			return &connection{ClientConn: conn, rpc: pb.NewClusterClient(conn), endpoint: endpoint, remote: remote, public: public}, nil
		}
		_ = conn.Close()
		target := hello.GetRedirect().GetEndpoint()
		if err := checkEndpoint(target); err != nil {
			return nil, fmt.Errorf("discovery service %s: redirect: %w", endpoint, err)
		}
		if !c.allowed(endpoint, target) {
			return nil, fmt.Errorf("discovery service %s: it redirects to %s, another host, which neither the join token nor the configuration names: configure that as the endpoint if it is right", endpoint, target)
		}
		c.log.Debug("redirected", "from", endpoint, "to", target)
		endpoint = target
	}
	return nil, fmt.Errorf("discovery service %s: redirected more than %d times in a row", endpoint, maxRedirects)
}

// allowed reports whether a server may redirect to target: to an endpoint that is
// configured, or to another port of its own or a configured host.
func (c *Client) allowed(from, target string) bool {
	host, _, _ := net.SplitHostPort(target)
	return slices.ContainsFunc(append([]string{from}, c.cfg.Endpoints...), func(e string) bool {
		known, _, _ := net.SplitHostPort(e)
		return strings.EqualFold(known, host)
	})
}

func (c *Client) hello(ctx context.Context, endpoint string) (*grpc.ClientConn, netip.Addr, *pb.HelloResponse, error) {
	var remote atomic.Pointer[netip.Addr]
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := c.dial(ctx, addr)
		if err == nil {
			if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
				ip := tcp.AddrPort().Addr().Unmap()
				remote.Store(&ip)
			}
		}
		return conn, err
	}
	conn, err := grpc.NewClient("passthrough:///"+url.PathEscape(endpoint),
		grpc.WithTransportCredentials(transport(c.cfg.Insecure, c.cfg.Pin)),
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.DefaultConfig,
			MinConnectTimeout: connectTimeout(len(c.cfg.Endpoints)),
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: max(10*time.Second, c.cfg.TTL/10)}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerSize), grpc.ForceCodecV2(newWire())),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, netip.Addr{}, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	hello, err := pb.NewClusterClient(conn).Hello(ctx, &pb.HelloRequest{ClusterId: c.cfg.DiscoveryID, ClientVersion: c.cfg.ClientVersion})
	if err != nil {
		_ = conn.Close()
		return nil, netip.Addr{}, nil, rpcError("hello", err)
	}
	if at := remote.Load(); at != nil {
		return conn, *at, hello, nil
	}
	return conn, netip.Addr{}, hello, nil
}

// Delete removes this node from the service over a separate connection. If last is
// signed, it takes the place of the entry instead, until its time ends. Run then
// publishes nothing until the next [Client.Publish]. Delete tries each endpoint once. An
// update that Run is sending may arrive after the deletion: stop Run first to leave for
// good.
func (c *Client) Delete(ctx context.Context, last mesh.Affiliate) error {
	var data []byte
	if last.Record.Signed() {
		var err error
		if data, _, err = c.seal(last); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.local, c.snap.Published = nil, false
	endpoints := []string{c.endpoint}
	c.mu.Unlock()
	for _, e := range c.cfg.Endpoints {
		if !slices.Contains(endpoints, e) {
			endpoints = append(endpoints, e)
		}
	}
	var errs []error
	for _, e := range endpoints {
		err := c.deleteAt(ctx, e, data)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("delete own affiliate: %w", errors.Join(errs...))
}

// deleteAt replaces this node's entry with data or, without data, deletes it.
func (c *Client) deleteAt(ctx context.Context, endpoint string, data []byte) error {
	conn, err := c.connect(ctx, endpoint)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	if data != nil {
		_, err = conn.rpc.AffiliateUpdate(ctx, &pb.AffiliateUpdateRequest{
			ClusterId: c.cfg.DiscoveryID, AffiliateId: c.cfg.AffiliateID, AffiliateData: data, Ttl: durationpb.New(c.cfg.TTL),
		})
	} else {
		_, err = conn.rpc.AffiliateDelete(ctx, &pb.AffiliateDeleteRequest{ClusterId: c.cfg.DiscoveryID, AffiliateId: c.cfg.AffiliateID})
	}
	if err != nil {
		return fmt.Errorf("discovery service %s: %w", conn.endpoint, rpcError("delete", err))
	}
	return nil
}

// rpcError returns an error with the failed operation, the gRPC code and the server's
// text. That text is untrusted and is cut to one printable line.
func rpcError(doing string, err error) error {
	s := status.Convert(err)
	if s.Code() == codes.DeadlineExceeded {
		return fmt.Errorf("%s: %s: no answer in time", doing, s.Code())
	}
	err = fmt.Errorf("%s: %s: %s", doing, s.Code(), clean(reason(s.Message())))
	if s.Code() == codes.PermissionDenied {
		return refusal{err}
	}
	return err
}

// reason returns why a connection failed, without what gRPC and the dialer put
// around it.
func reason(message string) string {
	if _, inner, ok := strings.Cut(message, `desc = "transport: `); ok {
		message = strings.TrimPrefix(strings.TrimSuffix(inner, `"`), "Error while dialing: ")
	}
	if _, inner, ok := strings.Cut(message, ": connect: "); ok {
		message = inner
	}
	return message
}

func clean(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), 300)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
