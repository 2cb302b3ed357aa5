package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// maxBody bounds the body of a request. Nobody needs one.
const maxBody = 4 << 10

// Request is what a client asks for.
type Request struct {
	Method  string
	Path    string     // decoded; empty for CONNECT
	Query   url.Values // what of it is well-formed
	Host    string     // of CONNECT: where to connect to
	Element string     // the last one of the path, where a [Mux] leaves it open
	Conn    net.Conn   // as it was accepted, for its type alone
}

// refusal is an error with a code to answer with.
type refusal struct {
	code int
	text string
}

func (e *refusal) Error() string { return e.text }

// readRequest reads a request and passes over its body, for which it asks if the client waits
// for that. Its errors are of the connection, unless refusalOf knows an answer.
func readRequest(in *bufio.Reader, out io.Writer) (*Request, error) {
	first, f, err := readHead(in)
	if err != nil {
		return nil, err
	}
	r, version, err := parseRequestLine(first)
	if err != nil {
		return nil, err
	}
	if hosts := len(f["host"]); hosts > 1 || hosts == 0 && version == "HTTP/1.1" {
		return nil, malformed("HTTP/1.1 needs one Host header")
	}
	size, err := bodySize(f)
	switch {
	case err != nil:
		return nil, err
	case size == 0:
		return r, nil
	case r.Method == MethodConnect:
		return nil, malformed("CONNECT has no body")
	}
	if expect := f["expect"]; len(expect) > 0 && strings.EqualFold(expect[0], "100-continue") && version == "HTTP/1.1" {
		if _, err := io.WriteString(out, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, err
		}
	}
	_, err = io.CopyN(io.Discard, in, size)
	return r, err
}

// parseRequestLine reads METHOD TARGET VERSION.
func parseRequestLine(line string) (r *Request, version string, err error) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !isToken(parts[0]) || !strings.HasPrefix(parts[2], "HTTP/") {
		return nil, "", malformed(fmt.Sprintf("malformed request line %.40q", line))
	}
	r = &Request{Method: parts[0]}
	target, version := parts[1], parts[2]
	if version != "HTTP/1.1" && version != "HTTP/1.0" {
		return nil, "", &refusal{StatusVersion, "the versions are HTTP/1.0 and HTTP/1.1"}
	}
	if r.Method == MethodConnect {
		target = "http://" + target
	}
	u, err := url.ParseRequestURI(target)
	switch {
	case err != nil:
		return nil, "", malformed(fmt.Sprintf("malformed target %.40q", target))
	case r.Method != MethodConnect:
		r.Path, r.Query = u.Path, u.Query()
	case u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery:
		return nil, "", malformed("the target of CONNECT is not host:port")
	default:
		r.Host = u.Host
	}
	return r, version, nil
}

// bodySize returns how long a request's body is.
func bodySize(f fields) (size int64, err error) {
	if len(f["transfer-encoding"]) > 0 {
		return 0, &refusal{StatusNotImplemented, "Transfer-Encoding is not supported: send no body"}
	}
	lengths := f["content-length"]
	for i, text := range lengths {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil && !errors.Is(err, strconv.ErrRange) || i > 0 && text != lengths[0] {
			return 0, malformed("malformed Content-Length")
		}
		size = int64(n)
	}
	if size > maxBody {
		return 0, &refusal{StatusContentTooLarge, fmt.Sprintf("the body is larger than %d bytes: send none", maxBody)}
	}
	return size, nil
}

// refusalOf returns what to answer to a request that could not be read; nil: nothing, since
// the client has gone.
func refusalOf(err error) *refusal {
	var own *refusal
	var bad malformed
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &bad):
		return &refusal{StatusBadRequest, err.Error()}
	case errors.Is(err, errHeadTooLarge):
		return &refusal{StatusHeadTooLarge, err.Error()}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{StatusRequestTimeout, "the request has not come in time"}
	}
	return nil
}
