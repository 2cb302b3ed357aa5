package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Code is a status code of gRPC.
type Code uint32

// The codes that this package gives itself, and those that callers tell apart.
const (
	OK                Code = 0
	Canceled          Code = 1
	Unknown           Code = 2
	InvalidArgument   Code = 3
	DeadlineExceeded  Code = 4
	PermissionDenied  Code = 7
	ResourceExhausted Code = 8
	Unimplemented     Code = 12
	Internal          Code = 13
	Unavailable       Code = 14
	Unauthenticated   Code = 16
)

var codeNames = [...]string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
	"PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
	"Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
}

func (c Code) String() string {
	if c < Code(len(codeNames)) {
		return codeNames[c]
	}
	return fmt.Sprintf("Code(%d)", uint32(c))
}

// Error is why a call failed.
type Error struct {
	Code    Code
	Message string // untrusted: it may be the server's

	cause error
}

func (e *Error) Error() string { return e.Code.String() + ": " + e.Message }

// Unwrap returns the error of the connection or the context, if that is the reason.
func (e *Error) Unwrap() error { return e.cause }

// failure returns an error of the connection as an [Error].
func failure(ctx context.Context, err error) error {
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.DeadlineExceeded):
		return &Error{DeadlineExceeded, cause.Error(), cause}
	case cause != nil:
		return &Error{Canceled, cause.Error(), cause}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Unavailable, "the server closed the connection", err}
	}
	return &Error{Unavailable, err.Error(), err}
}

// checkStart checks how an answer begins. An answer that is nothing but a status has it in
// its header.
func checkStart(h *header) error {
	switch {
	case h.hasStatus:
		return h.grpc()
	case h.httpStatus != "200":
		known := httpStatuses[h.httpStatus]
		if known.code == OK {
			known.code = Unknown
		}
		return &Error{Code: known.code, Message: strings.TrimSpace("the server answers with the HTTP status " + h.httpStatus + " " + known.text)}
	case !isGRPC(h.contentType):
		return &Error{Code: Unknown, Message: fmt.Sprintf("the answer is %.100q, not gRPC: is this a discovery service?", h.contentType)}
	}
	return nil
}

// isGRPC reports whether a content type is application/grpc, with a suffix or parameters.
func isGRPC(kind string) bool {
	const want = "application/grpc"
	if len(kind) < len(want) || kind[:len(want)] != want {
		return false
	}
	return len(kind) == len(want) || kind[len(want)] == '+' || kind[len(want)] == ';'
}

// httpStatuses has the codes for HTTP statuses, as gRPC's specification maps them, and
// what else proxies often say. All others are Unknown.
var httpStatuses = map[string]struct {
	code Code
	text string
}{
	"301": {Unknown, "Moved Permanently"},
	"302": {Unknown, "Found"},
	"307": {Unknown, "Temporary Redirect"},
	"308": {Unknown, "Permanent Redirect"},
	"400": {Internal, "Bad Request"},
	"401": {code: Unauthenticated},
	"403": {PermissionDenied, "Forbidden"},
	"404": {Unimplemented, "Not Found"},
	"405": {Unknown, "Method Not Allowed"},
	"415": {Unknown, "Unsupported Media Type"},
	"429": {Unavailable, "Too Many Requests"},
	"500": {Unknown, "Internal Server Error"},
	"502": {Unavailable, "Bad Gateway"},
	"503": {Unavailable, "Service Unavailable"},
	"504": {Unavailable, "Gateway Timeout"},
}

// grpc returns the status in a header or trailer, nil for OK.
func (h *header) grpc() error {
	text := h.status
	if text == "" {
		return &Error{Code: Internal, Message: "the answer ends without a status"}
	}
	code, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return &Error{Code: Unknown, Message: fmt.Sprintf("the answer has the status %.20q", text)}
	}
	if Code(code) == OK {
		return nil
	}
	return &Error{Code: Code(code), Message: unescape(h.message)}
}

// unescape reverses the percent encoding of a message. What is not encoded right stays as
// it is.
func unescape(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out = append(out, byte(v))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
