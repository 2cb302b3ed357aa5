package server

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// EnrolFunc answers the request of a node that wants to join the mesh of this server. An
// error that is a [discovery.Refusal] is told to the node; of others it learns only that there was
// one.
type EnrolFunc func(ctx context.Context, request []byte) (answer []byte, err error)

var errEnrolment = status.Error(codes.Internal, "the founder could not answer, its log says why")

// registerEnrolment adds the method that calls Config.Enrol.
func (s *Server) registerEnrolment(gs *grpc.Server, g *gate) {
	gs.RegisterService(&grpc.ServiceDesc{
		ServiceName: discovery.EnrolmentService,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: discovery.EnrolMethod, Handler: s.enrolment(g)}},
	}, s)
}

// enrolment passes requests through the gate, which lets in all that are small: they name
// no cluster.
func (s *Server) enrolment(g *gate) grpc.MethodHandler {
	small := func(_ *call, raw rawMessage) error {
		if len(raw) > mesh.MaxEnrolmentSize+3 { // tag and length
			return status.Error(codes.InvalidArgument, "the enrolment is too big")
		}
		return nil
	}
	return func(_ any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (resp any, err error) {
		c := &call{method: "/" + discovery.EnrolmentService + "/" + discovery.EnrolMethod, kind: "unary", addr: g.cfg.clientAddr(ctx)}
		err = g.around(c, func() error {
			raw, err := g.admit(ctx, c, receive, small)
			if err != nil {
				return err
			}
			var req wrapperspb.BytesValue
			if err := proto.Unmarshal(raw, &req); err != nil {
				return malformed(err)
			}
			resp, err = s.enrol(ctx, req.GetValue())
			return err
		})
		return resp, err
	}
}

func (s *Server) enrol(ctx context.Context, request []byte) (*wrapperspb.BytesValue, error) {
	answer, err := s.cfg.Enrol(ctx, request)
	if refusal, ok := errors.AsType[discovery.Refusal](err); ok {
		return nil, status.Error(codes.PermissionDenied, string(refusal))
	}
	if err != nil {
		s.log.Error("a node could not be admitted", "address", s.cfg.clientAddr(ctx), "error", err)
		return nil, errEnrolment
	}
	return wrapperspb.Bytes(answer), nil
}
