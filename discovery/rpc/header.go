package rpc

import (
	"strings"

	"golang.org/x/net/http2/hpack"
)

// tableSize is that of both dynamic tables.
const tableSize = 4 << 10

// request is what differs in the headers of requests.
type request struct {
	method  string // path of the URL
	timeout string // grpc-timeout; empty: none
}

// encode returns a header block, valid until the next call. c.mu is held.
func (c *Conn) encode(h request) []byte {
	c.block.Reset()
	for _, f := range [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: c.scheme},
		{Name: ":path", Value: h.method},
		{Name: ":authority", Value: c.address},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "te", Value: "trailers"},
		{Name: "user-agent", Value: userAgent},
		{Name: "grpc-timeout", Value: h.timeout},
	} {
		if f.Value != "" {
			_ = c.encoder.WriteField(f) // to memory
		}
	}
	return c.block.Bytes()
}

// header is what counts in a header or trailer of an answer.
type header struct {
	httpStatus  string
	contentType string
	status      string // grpc-status
	hasStatus   bool
	message     string // grpc-message
}

// blockReader decodes a header block.
type blockReader struct {
	header
	size    int
	regular bool // a field that is no pseudo-header came
	wrong   string
}

// decode decodes a header block. The error says what is wrong with it, or comes from the
// decoder, which then is of no more use.
func decode(d *hpack.Decoder, block []byte) (h header, wrong string, err error) {
	r := blockReader{}
	d.SetEmitEnabled(true)
	d.SetMaxStringLength(maxHeaderSize)
	d.SetEmitFunc(func(f hpack.HeaderField) {
		if r.size += int(f.Size()); r.size > maxHeaderSize {
			r.wrong = "a header list larger than the limit of 16 KB"
			d.SetEmitEnabled(false)
			return
		}
		r.take(f.Name, f.Value)
	})
	if _, err = d.Write(block); err == nil {
		err = d.Close()
	}
	return r.header, r.wrong, err
}

// take takes one field. Of fields with the same name the first counts.
func (r *blockReader) take(name, value string) {
	pseudo := strings.HasPrefix(name, ":")
	switch {
	case pseudo && (name != ":status" || r.regular || r.httpStatus != "" || !isStatus(value)):
		r.wrong = "a header with an invalid pseudo-header"
	case !pseudo && !validField(name, value):
		r.wrong = "a header with an invalid field"
	}
	r.regular = r.regular || !pseudo
	switch {
	case name == ":status":
		r.httpStatus = value
	case name == "content-type" && r.contentType == "":
		r.contentType = value
	case name == "grpc-status" && !r.hasStatus:
		r.status, r.hasStatus = value, true
	case name == "grpc-message" && r.message == "":
		r.message = value
	}
}

func isStatus(s string) bool {
	return len(s) == 3 && '1' <= s[0] && s[0] <= '9' && '0' <= s[1] && s[1] <= '9' && '0' <= s[2] && s[2] <= '9'
}

// validField reports whether a field is allowed in HTTP/2 (RFC 9113 §8.2.1).
func validField(name, value string) bool {
	for i := range len(name) {
		if b := name[i]; b <= ' ' || b >= 0x7f || b == ':' || 'A' <= b && b <= 'Z' {
			return false
		}
	}
	return name != "" && !strings.ContainsAny(value, "\x00\r\n")
}
