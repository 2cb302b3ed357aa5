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
		code, text := httpStatus(h.httpStatus)
		return &Error{Code: code, Message: strings.TrimSpace("the server answers with the HTTP status " + h.httpStatus + " " + text)}
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

// httpStatus returns the code for an HTTP status, as gRPC's specification maps them, and what
// proxies often say besides.
func httpStatus(status string) (code Code, text string) {
	switch status {
	case "301":
		return Unknown, "Moved Permanently"
	case "302":
		return Unknown, "Found"
	case "307":
		return Unknown, "Temporary Redirect"
	case "308":
		return Unknown, "Permanent Redirect"
	case "400":
		return Internal, "Bad Request"
	case "401":
		return Unauthenticated, ""
	case "403":
		return PermissionDenied, "Forbidden"
	case "404":
		return Unimplemented, "Not Found"
	case "405":
		return Unknown, "Method Not Allowed"
	case "415":
		return Unknown, "Unsupported Media Type"
	case "429":
		return Unavailable, "Too Many Requests"
	case "500":
		return Unknown, "Internal Server Error"
	case "502":
		return Unavailable, "Bad Gateway"
	case "503":
		return Unavailable, "Service Unavailable"
	case "504":
		return Unavailable, "Gateway Timeout"
	}
	return Unknown, ""
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
