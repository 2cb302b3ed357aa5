package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// callEnrol calls the method at a server with TLS.
func callEnrol(t *testing.T, r *running, request []byte) ([]byte, error) {
	t.Helper()
	conn, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := new(wrapperspb.BytesValue)
	err = conn.Invoke(t.Context(), "/"+discovery.EnrolmentService+"/"+discovery.EnrolMethod, wrapperspb.Bytes(request), answer)
	return answer.GetValue(), err
}

func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	cert, _, err := MemoryCertificate(t0)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func TestEnrol(t *testing.T) {
	r := start(t, Config{OnlyCluster: "c", TLS: testTLS(t), Enrol: func(_ context.Context, request []byte) ([]byte, error) {
		switch string(request) {
		case "refuse":
			return nil, discovery.Refusal("used up")
		case "fail":
			return nil, errors.New("disk full at /secret/path")
		case "panic":
			panic("x")
		}
		return append([]byte("answer to "), request...), nil
	}})
	for _, test := range []struct {
		request string
		code    codes.Code
		want    string // the answer, or the error
	}{
		{"hello", codes.OK, "answer to hello"},
		{"", codes.OK, "answer to "},
		{"refuse", codes.PermissionDenied, "used up"},
		{"fail", codes.Internal, "the founder could not answer, its log says why"},
		{"panic", codes.Internal, "internal error"},
		{strings.Repeat("x", mesh.MaxEnrolmentSize+1), codes.InvalidArgument, "the enrolment is too big"},
	} {
		answer, err := callEnrol(t, r, []byte(test.request))
		if err != nil {
			answer = []byte(status.Convert(err).Message())
		}
		if status.Code(err) != test.code || !bytes.Equal(answer, []byte(test.want)) {
			t.Errorf("%.20q: %v %q, want %v %q", test.request, status.Code(err), answer, test.code, test.want)
		}
	}
}

// Only a founder's server has the method, and only over TLS.
func TestNoEnrolment(t *testing.T) {
	if _, err := callEnrol(t, start(t, Config{TLS: testTLS(t)}), nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("at another server: %v", err)
	}
	if _, err := New(Config{Enrol: func(context.Context, []byte) ([]byte, error) { return nil, nil }}); err == nil {
		t.Error("a server without TLS admits nodes")
	}
}

// The rate limit of a client address holds for enrolments, too.
func TestEnrolRate(t *testing.T) {
	r := start(t, Config{TLS: testTLS(t), Enrol: func(context.Context, []byte) ([]byte, error) { return nil, nil }})
	if _, err := callEnrol(t, r, nil); err != nil {
		t.Fatal(err)
	}
	r.clients.mu.Lock()
	defer r.clients.mu.Unlock()
	if n := len(r.clients.seen); n != 1 {
		t.Errorf("%d client addresses have been counted", n)
	}
}
