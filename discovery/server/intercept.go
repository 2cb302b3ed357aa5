package server

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wirespan/wirespan/mesh"
)

// interceptor wraps every RPC. From the outside in: metrics and log, recovery from
// panics, rate limit.
type interceptor struct {
	cfg     *Config
	log     hclog.Logger
	clients *clients
	metrics *metrics
}

func (i *interceptor) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	cluster := ""
	if r, ok := req.(interface{ GetClusterId() string }); ok {
		cluster = mesh.ShortClusterID(r.GetClusterId())
	}
	err = i.around(ctx, call{info.FullMethod, "unary", cluster}, func() error {
		resp, err = handle(ctx, req)
		return err
	})
	return resp, err
}

func (i *interceptor) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	return i.around(stream.Context(), call{info.FullMethod, "server_stream", ""}, func() error {
		return handle(srv, stream)
	})
}

type call struct{ method, kind, cluster string }

// around calls handle, counts the call and logs its error.
func (i *interceptor) around(ctx context.Context, c call, handle func() error) error {
	begin := time.Now()
	i.metrics.started(c)
	err := i.protected(ctx, c, handle)
	took := time.Since(begin)
	i.metrics.handled(c, status.Code(err), took)
	if err != nil && i.log.IsDebug() {
		i.log.Debug("request ended with an error", "method", c.method, "cluster", c.cluster,
			"address", i.cfg.clientAddr(ctx), "took", took.String(), "error", err)
	}
	return err
}

// protected applies the rate limit and turns a panic into an error.
func (i *interceptor) protected(ctx context.Context, c call, handle func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			i.log.Error("panic in a request", "method", c.method, "panic", r, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	if err := i.clients.wait(ctx, i.cfg.clientAddr(ctx)); err != nil {
		return err
	}
	return handle()
}
