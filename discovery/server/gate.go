package server

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/siderolabs/discovery-api/api/v1alpha1/server/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/wirespan/wirespan/mesh"
)

// gate stands before every request, because decoding is expensive: 8 KiB can become
// 100 KiB of objects. It receives the message as bytes, reads the cluster id in them,
// refuses other clusters at once, and waits for the rate limit. Only then is the message
// decoded. Around that are metrics, log, and recovery from panics. What is refused counts
// as bytes of its address, which the listener limits.
type gate struct {
	cfg     *Config
	log     hclog.Logger
	only    *only
	clients *clients
	pools   pools
	metrics *metrics
}

var (
	errForeignCluster = status.Error(codes.PermissionDenied, "this server does not serve the cluster")
	errPending        = status.Error(codes.ResourceExhausted, "too many requests are waiting")
)

// call is one request.
type call struct {
	method, kind string
	addr         netip.Addr
	cluster      string // short, for the log; empty until the message has arrived
}

// description returns that of the service, with the gate in front of its methods.
func (g *gate) description() *grpc.ServiceDesc {
	desc := pb.Cluster_ServiceDesc
	desc.Methods = slices.Clone(desc.Methods)
	for i, m := range desc.Methods {
		desc.Methods[i].Handler = g.unary("/"+desc.ServiceName+"/"+m.MethodName, m.Handler)
	}
	return &desc
}

func (g *gate) unary(method string, handle grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (resp any, err error) {
		c := &call{method: method, kind: "unary", addr: g.cfg.clientAddr(ctx)}
		err = g.around(c, func() error {
			resp, err = handle(srv, ctx, g.receiver(ctx, c, receive), nil)
			if list, ok := resp.(*pb.ListResponse); ok && err == nil {
				resp, err = newAnswer(g.pools.answers, clientKey(c.addr), list)
			}
			return err
		})
		return resp, err
	}
}

// stream is a grpc.StreamServerInterceptor.
func (g *gate) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	c := &call{method: info.FullMethod, kind: "server_stream", addr: g.cfg.clientAddr(s.Context())}
	return g.around(c, func() error {
		return handle(srv, &gatedStream{s, g.receiver(s.Context(), c, s.RecvMsg)})
	})
}

type gatedStream struct {
	grpc.ServerStream
	receive func(any) error
}

func (s *gatedStream) RecvMsg(m any) error { return s.receive(m) }

// around calls handle, counts the call and logs its error.
func (g *gate) around(c *call, handle func() error) error {
	begin := time.Now()
	g.metrics.started(c)
	err := g.protected(c, handle)
	took := time.Since(begin)
	if err != nil && c.addr.IsValid() {
		g.clients.spend(clientKey(c.addr), refusalCost, time.Now())
	}
	g.metrics.handled(c, status.Code(err), took)
	if err != nil && g.log.IsDebug() {
		g.log.Debug("request ended with an error", "method", c.method, "cluster", c.cluster,
			"address", c.addr, "took", took.String(), "error", err)
	}
	return err
}

// protected turns a panic into an error.
func (g *gate) protected(c *call, handle func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			g.log.Error("panic in a request", "method", c.method, "panic", r, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return handle()
}

// receiver returns a function that decodes the message of a request once it is admitted.
func (g *gate) receiver(ctx context.Context, c *call, receive func(any) error) func(any) error {
	return func(m any) error {
		raw, err := g.admit(ctx, c, receive, g.ofCluster)
		if err != nil {
			return err
		}
		if err := proto.Unmarshal(raw, m.(proto.Message)); err != nil {
			return malformed(err)
		}
		return nil
	}
}

// admit receives a message, checks it, and waits until it may be decoded.
func (g *gate) admit(ctx context.Context, c *call, receive func(any) error, check func(*call, rawMessage) error) (rawMessage, error) {
	key := clientKey(c.addr)
	if !g.pools.pending.take(key, 1) {
		return nil, errPending
	}
	defer g.pools.pending.put(key, 1)
	var raw rawMessage
	if err := receive(&raw); err != nil {
		return nil, err
	}
	arrived(ctx)
	if err := check(c, raw); err != nil {
		return nil, err
	}
	return raw, g.clients.wait(ctx, key)
}

// ofCluster returns an error for a request of a cluster that is not served.
func (g *gate) ofCluster(c *call, raw rawMessage) error {
	cluster, err := clusterOf(raw)
	if err != nil {
		return malformed(err)
	}
	c.cluster = mesh.ShortClusterID(cluster)
	return g.checkCluster(cluster)
}

func (g *gate) checkCluster(id string) error {
	if err := validateClusterID(id); err != nil {
		return err
	}
	if !g.only.serves(id) {
		return errForeignCluster
	}
	return nil
}

// clusterOf returns the cluster id of an encoded request: in all of them it is field 1,
// and the last one counts.
func clusterOf(raw rawMessage) (id string, err error) {
	var last []byte
	for f, err := range fields(raw) {
		if err != nil {
			return "", err
		}
		if f.is(1, protowire.BytesType) {
			last = f.bytes()
		}
	}
	return string(last), nil
}

func malformed(err error) error {
	return status.Error(codes.Internal, fmt.Sprintf("grpc: failed to unmarshal the received message: %v", err))
}

// awaited is the context key of a timer that ends a request whose message is late.
type awaited struct{}

// await is a tap.ServerInHandle, which sees a request before its message has arrived.
// A request without one would otherwise stay for as long as its connection.
func await(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, cancel := context.WithCancel(ctx) // freed with the parent, which ends with the request
	return context.WithValue(ctx, awaited{}, time.AfterFunc(messageTimeout, cancel)), nil
}

// arrived stops the timer.
func arrived(ctx context.Context) {
	if t, ok := ctx.Value(awaited{}).(*time.Timer); ok {
		t.Stop()
	}
}
