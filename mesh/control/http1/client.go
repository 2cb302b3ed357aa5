package http1

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Reply is an answer to a client.
type Reply struct {
	Code int
	Body *bufio.Reader // until the connection ends; of a CONNECT that succeeded, the tunnel
}

// Do sends a request without a body and reads the head of the answer. The target is a path
// with a query, and that of CONNECT host:port.
func Do(conn io.ReadWriter, method, target string) (*Reply, error) {
	host := "wirespan"
	if method == MethodConnect {
		host = target
	}
	if strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("%q is no target of a request", target)
	}
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, target, host); err != nil {
		return nil, err
	}
	return readReply(bufio.NewReader(conn))
}

func readReply(in *bufio.Reader) (*Reply, error) {
	first, f, err := readHead(in)
	if err != nil {
		return nil, err
	}
	version, rest, _ := strings.Cut(first, " ")
	text, _, _ := strings.Cut(rest, " ")
	code, err := strconv.ParseUint(text, 10, 16)
	if !strings.HasPrefix(version, "HTTP/1.") || err != nil || len(text) != 3 || code < 200 {
		return nil, malformed(fmt.Sprintf("malformed answer %.40q", first))
	}
	if len(f["transfer-encoding"]) > 0 {
		return nil, malformed("an answer with Transfer-Encoding, which no agent sends")
	}
	return &Reply{int(code), in}, nil
}
