package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/rpc"
	"github.com/wirespan/wirespan/discovery/wire"
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

func enrolAt(ctx context.Context, c EnrolConfig, server string, request []byte) ([]byte, error) {
	dial := c.Dial
	if dial == nil {
		dial = newDialer(c.Control, connectTimeout(len(c.Servers)))
	}
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	conn, err := rpc.Dial(ctx, rpc.Config{Address: server, TLS: tlsConfig(c.Pin), Timeout: connectTimeout(len(c.Servers)), Dial: dial})
	var strange *wrongServer
	if errors.As(err, &strange) {
		return nil, strange
	}
	if err != nil {
		return nil, rpcError("joining", err)
	}
	defer conn.Close()
	answer, err := conn.Call(ctx, "/"+discovery.EnrolmentService+"/"+discovery.EnrolMethod, wire.AppendPresent(nil, 1, request), mesh.MaxMembershipSize+16)
	var refused *rpc.Error
	switch {
	case err == nil:
		return decodeValue(answer)
	case !errors.As(err, &refused):
	case refused.Code == rpc.PermissionDenied || refused.Code == rpc.InvalidArgument:
		return nil, refusal{errors.New(clean(refused.Message))}
	case refused.Code == rpc.Unimplemented:
		return nil, refusal{errors.New("the server admits no nodes: it is not that of a founder, or of an older version")}
	}
	return nil, rpcError("joining", err)
}

// decodeValue decodes a google.protobuf.BytesValue.
func decodeValue(b []byte) (value []byte, err error) {
	f := wire.Read(b)
	for f.Next() {
		if f.Number == 1 {
			value = f.Bytes()
		}
	}
	return value, malformed("the answer", f.Err())
}
