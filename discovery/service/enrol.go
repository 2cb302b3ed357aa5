package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// enrolTimeout is how long one server may take to answer.
const enrolTimeout = 10 * time.Second

// EnrolConfig says whom [Enrol] asks.
type EnrolConfig struct {
	Servers []string // host:port, addresses of one server; tried in turn
	Pin     [32]byte // SHA-256 of the server's SubjectPublicKeyInfo
	Control func(network, address string, c syscall.RawConn) error
	Dial    func(ctx context.Context, address string) (net.Conn, error) // nil: directly, or through a proxy
}

// refusal is an error that is [discovery.ErrRefused].
type refusal struct{ error }

func (refusal) Is(target error) bool { return target == discovery.ErrRefused }

// Enrol sends the request of a node that wants to join a mesh to the founder's server, and
// returns the answer. The error is [discovery.ErrRefused], or no server answered.
func Enrol(ctx context.Context, c EnrolConfig, request []byte) (answer []byte, err error) {
	if c.Pin == [32]byte{} {
		return nil, errors.New("enrolment: no pin of the server's key")
	}
	var errs []error
	refused := 0
	for _, server := range c.Servers {
		answer, err := enrolAt(ctx, c, server, request)
		var strange *wrongServer
		switch {
		case err == nil:
			return answer, nil
		case errors.As(err, &strange): // another address may lead to the right one
			refused++
		case errors.Is(err, discovery.ErrRefused):
			return nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
	}
	if err = errors.Join(errs...); refused > 0 && refused == len(errs) {
		return nil, refusal{err}
	}
	return nil, err
}

// wrongServer reports a server with another key than the one with the pin.
type wrongServer struct{ error }

func enrolAt(ctx context.Context, c EnrolConfig, server string, request []byte) ([]byte, error) {
	var strange atomic.Pointer[wrongServer]
	cfg := tlsConfig(c.Pin)
	verify := cfg.VerifyConnection
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		err := verify(s)
		if err != nil {
			strange.Store(&wrongServer{err})
		}
		return err
	}
	dial := c.Dial
	if dial == nil {
		dial = newDialer(c.Control, connectTimeout(len(c.Servers)))
	}
	conn, err := grpc.NewClient("passthrough:///"+url.PathEscape(server),
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mesh.MaxMembershipSize+16)),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	answer := new(wrapperspb.BytesValue)
	err = conn.Invoke(ctx, "/"+discovery.EnrolmentService+"/"+discovery.EnrolMethod, wrapperspb.Bytes(request), answer)
	if err == nil {
		return answer.GetValue(), nil
	}
	if w := strange.Load(); w != nil {
		return nil, w
	}
	switch s := status.Convert(err); s.Code() {
	case codes.PermissionDenied, codes.InvalidArgument:
		return nil, refusal{errors.New(clean(s.Message()))}
	case codes.Unimplemented:
		return nil, refusal{errors.New("the server admits no nodes: it is not that of a founder, or of an older version")}
	}
	return nil, rpcError("joining", err)
}
