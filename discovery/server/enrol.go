package server

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// EnrolFunc answers the request of a node that wants to join the mesh of this server. An
// error that is a [Refusal] is told to the node; of others it learns only that there was
// one.
type EnrolFunc func(ctx context.Context, request []byte) (answer []byte, err error)

// Refusal is the reason why a node may not join.
type Refusal string

func (r Refusal) Error() string { return string(r) }

var errEnrolment = status.Error(codes.Internal, "the founder could not answer, its log says why")

// registerEnrolment adds the method that calls Config.Enrol.
func (s *Server) registerEnrolment(gs *grpc.Server) {
	gs.RegisterService(&grpc.ServiceDesc{
		ServiceName: discovery.EnrolmentService,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: discovery.EnrolMethod, Handler: s.handleEnrolment}},
	}, s)
}

// handleEnrolment decodes a request and passes it through the interceptor, as generated
// code does.
func (s *Server) handleEnrolment(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	req := new(wrapperspb.BytesValue)
	if err := decode(req); err != nil {
		return nil, err
	}
	info := &grpc.UnaryServerInfo{Server: s, FullMethod: "/" + discovery.EnrolmentService + "/" + discovery.EnrolMethod}
	return intercept(ctx, req, info, func(ctx context.Context, req any) (any, error) {
		return s.enrol(ctx, req.(*wrapperspb.BytesValue).GetValue())
	})
}

func (s *Server) enrol(ctx context.Context, request []byte) (*wrapperspb.BytesValue, error) {
	if len(request) > mesh.MaxEnrolmentSize {
		return nil, status.Error(codes.InvalidArgument, "the enrolment is too big")
	}
	answer, err := s.cfg.Enrol(ctx, request)
	if refusal, ok := errors.AsType[Refusal](err); ok {
		return nil, status.Error(codes.PermissionDenied, string(refusal))
	}
	if err != nil {
		s.log.Error("a node could not be admitted", "address", s.cfg.clientAddr(ctx), "error", err)
		return nil, errEnrolment
	}
	return wrapperspb.Bytes(answer), nil
}
