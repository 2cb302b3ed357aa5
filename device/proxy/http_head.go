package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
)

// framing says how the message with a head goes on.
type framing struct {
	body int64 // bytes
	last bool  // where it ends is not known from the head: no request may follow
}

// refusal is the reply to a request that is not passed on.
type refusal struct {
	status int
	why    string
}

func malformed(why string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(why, args...)}
}

// checkHead checks the head of a request, from the request line to the empty line, whose
// lines end with CRLF. It takes what RFC 9112 defines, and nothing that two readers might
// read differently: net/http, which reads the head next, is lenient with some of that.
func checkHead(head []byte) (framing, *refusal) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	f, old, refused := checkRequestLine(line)
	if refused != nil {
		return framing{}, refused
	}
	connect := f.last
	var hosts, lengths, codings int
	for {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		if len(line) == 0 {
			break
		}
		name, value, refused := checkField(line)
		if refused != nil {
			return framing{}, refused
		}
		switch {
		case bytes.EqualFold(name, []byte("Host")):
			hosts++
		case bytes.EqualFold(name, []byte("Content-Length")):
			lengths++
			if f.body, refused = parseLength(value); refused != nil {
				return framing{}, refused
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			codings++
			f.last = true
			if !bytes.EqualFold(value, []byte("chunked")) {
				return framing{}, &refusal{http.StatusNotImplemented, "the only Transfer-Encoding is chunked"}
			}
		case bytes.EqualFold(name, []byte("Upgrade")):
			f.last = true
		}
	}
	switch {
	case hosts > 1 || hosts == 0 && !old:
		return framing{}, malformed("%d Host headers instead of one", hosts)
	case lengths > 1 || codings > 1 || lengths+codings > 1:
		return framing{}, malformed("more than one Content-Length or Transfer-Encoding")
	case codings > 0 && old:
		return framing{}, malformed("Transfer-Encoding in HTTP/1.0")
	case connect && (f.body > 0 || codings > 0):
		return framing{}, malformed("CONNECT with a body")
	}
	return f, nil
}

// checkRequestLine also reports whether the version is 1.0. CONNECT is a last request.
func checkRequestLine(line []byte) (f framing, old bool, refused *refusal) {
	parts := bytes.Split(line, []byte(" "))
	if len(parts) != 3 || len(parts[0]) == 0 || len(parts[1]) == 0 {
		return f, false, malformed("the request line is not METHOD TARGET VERSION")
	}
	for _, b := range parts[0] {
		if !isToken(b) {
			return f, false, malformed("the method has the byte %#x", b)
		}
	}
	for _, b := range parts[1] {
		if b < ' ' || b == 0x7f {
			return f, false, malformed("the target has the byte %#x", b)
		}
	}
	f.last = string(parts[0]) == http.MethodConnect
	switch string(parts[2]) {
	case "HTTP/1.1":
		return f, false, nil
	case "HTTP/1.0":
		return f, true, nil
	}
	return f, false, &refusal{http.StatusHTTPVersionNotSupported, "this proxy speaks HTTP/1.1 and HTTP/1.0"}
}

// checkField splits a header line.
func checkField(line []byte) (name, value []byte, refused *refusal) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, malformed("a header is continued on the next line")
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, malformed("a header line is not NAME: VALUE")
	}
	for _, b := range name {
		if !isToken(b) {
			return nil, nil, malformed("the name of a header has the byte %#x", b)
		}
	}
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return nil, nil, malformed("header %s has the byte %#x", name, b)
		}
	}
	return name, bytes.Trim(value, " \t"), nil
}

// parseLength takes digits alone: no sign, and no list.
func parseLength(value []byte) (int64, *refusal) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || value[0] < '0' || value[0] > '9' {
		return 0, malformed("Content-Length is not a number")
	}
	return n, nil
}

// isToken reports whether a byte may be part of a method or the name of a header.
func isToken(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0
}
