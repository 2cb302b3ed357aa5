package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// head makes a request of lines.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func TestCheckHead(t *testing.T) {
	get := "GET http://a/ HTTP/1.1"
	for _, tt := range []struct {
		name, head string
		status     int // 0: it passes
		want       framing
	}{
		{name: "plain", head: head(get, "Host: a")},
		{name: "length", head: head("POST http://a/ HTTP/1.1", "Host: a", "content-length:  12\t"), want: framing{body: 12}},
		{name: "chunked", head: head("POST http://a/ HTTP/1.1", "Host: a", "Transfer-Encoding: Chunked"), want: framing{last: true}},
		{name: "CONNECT", head: head("CONNECT a:1 HTTP/1.1", "Host: a:1", "Content-Length: 0"), want: framing{last: true}},
		{name: "upgrade", head: head(get, "Host: a", "Connection: upgrade", "Upgrade: websocket"), want: framing{last: true}},
		{name: "HTTP/1.0", head: head("GET http://a/ HTTP/1.0")},
		{name: "empty value", head: head(get, "Host: a", "X:")},
		{name: "bytes above ASCII", head: head("GET http://a/\xc3\xa4 HTTP/1.1", "Host: a", "X: \xc3\xa4")},

		{name: "no Host", head: head(get), status: 400},
		{name: "two Hosts", head: head(get, "Host: a", "host: a"), status: 400},
		{name: "length and chunked", head: head(get, "Host: a", "Content-Length: 3", "Transfer-Encoding: chunked"), status: 400},
		{name: "two lengths", head: head(get, "Host: a", "Content-Length: 3", "Content-Length: 4"), status: 400},
		{name: "two equal lengths", head: head(get, "Host: a", "Content-Length: 3", "Content-Length: 3"), status: 400},
		{name: "list of lengths", head: head(get, "Host: a", "Content-Length: 3, 3"), status: 400},
		{name: "length with sign", head: head(get, "Host: a", "Content-Length: +3"), status: 400},
		{name: "negative length", head: head(get, "Host: a", "Content-Length: -3"), status: 400},
		{name: "hexadecimal length", head: head(get, "Host: a", "Content-Length: 0x3"), status: 400},
		{name: "grouped length", head: head(get, "Host: a", "Content-Length: 1_0"), status: 400},
		{name: "no length", head: head(get, "Host: a", "Content-Length: "), status: 400},
		{name: "huge length", head: head(get, "Host: a", "Content-Length: 9223372036854775808"), status: 400},
		{name: "chunked twice", head: head(get, "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), status: 400},
		{name: "chunked in HTTP/1.0", head: head("GET http://a/ HTTP/1.0", "Transfer-Encoding: chunked"), status: 400},
		{name: "other coding", head: head(get, "Host: a", "Transfer-Encoding: gzip, chunked"), status: 501},
		{name: "coding with a vertical tab", head: head(get, "Host: a", "Transfer-Encoding: \vchunked"), status: 400},
		{name: "quoted coding", head: head(get, "Host: a", "Transfer-Encoding: \"chunked\""), status: 501},
		{name: "space before colon", head: head(get, "Host: a", "Content-Length : 3"), status: 400},
		{name: "continued line", head: head(get, "Host: a", "X: 1", " 2"), status: 400},
		{name: "continued first line", head: head(get, " Host: a"), status: 400},
		{name: "no colon", head: head(get, "Host: a", "X"), status: 400},
		{name: "no name", head: head(get, "Host: a", ": x"), status: 400},
		{name: "CR in a value", head: head(get, "Host: a", "X: 1\rY: 2"), status: 400},
		{name: "LF in a value", head: head(get, "Host: a", "X: 1\nY: 2"), status: 400},
		{name: "NUL in a value", head: head(get, "Host: a", "X: \x00"), status: 400},
		{name: "name above ASCII", head: head(get, "Host: a", "\xc3\xa4: 1"), status: 400},
		{name: "two spaces", head: head("GET  http://a/ HTTP/1.1", "Host: a"), status: 400},
		{name: "tab for space", head: head("GET\thttp://a/ HTTP/1.1", "Host: a"), status: 400},
		{name: "space in target", head: head("GET http://a/ b HTTP/1.1", "Host: a"), status: 400},
		{name: "NUL in target", head: head("GET http://a/\x00 HTTP/1.1", "Host: a"), status: 400},
		{name: "HTTP/0.9", head: head("GET http://a/"), status: 400},
		{name: "HTTP/2", head: head("PRI * HTTP/2.0"), status: 505},
		{name: "HTTP/1.2", head: head("GET http://a/ HTTP/1.2", "Host: a"), status: 505},
		{name: "lower-case version", head: head("GET http://a/ http/1.1", "Host: a"), status: 505},
		{name: "CONNECT with a body", head: head("CONNECT a:1 HTTP/1.1", "Host: a:1", "Content-Length: 1"), status: 400},
		{name: "chunked CONNECT", head: head("CONNECT a:1 HTTP/1.1", "Host: a:1", "Transfer-Encoding: chunked"), status: 400},
		{name: "no line", head: "\r\n\r\n", status: 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, refused := checkHead([]byte(tt.head))
			if refused == nil && tt.status != 0 || refused != nil && refused.status != tt.status || got != tt.want {
				t.Errorf("%+v, %+v, want %+v and status %d", got, refused, tt.want, tt.status)
			}
		})
	}
}

// script is a connection on which chunks of bytes arrive.
type script struct {
	net.Conn
	in   []byte
	size int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.size)], s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) SetReadDeadline(time.Time) error { return nil }

// FuzzHeadConn reads a stream of requests. What is passed on does not depend on how it
// arrives, and consists of heads that pass checkHead, with their bodies.
func FuzzHeadConn(f *testing.F) {
	f.Add([]byte(head("POST http://a/ HTTP/1.1", "Host: a", "Content-Length: 3")+"abc\r\n"+head("GET http://a/ HTTP/1.1", "Host: a")), uint8(1))
	f.Add([]byte(head("CONNECT a:1 HTTP/1.1", "Host: a:1")+"\x16\x03\x01"), uint8(7))
	f.Add([]byte(head("POST http://a/ HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")+"0\r\n\r\n"), uint8(30))
	f.Add([]byte("\r\nGET http://a/ HTTP/1.1\nHost: a\n\n"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		if len(b) == 0 {
			return
		}
		read := func(size int) []byte {
			v := &service{Server: &Server{limits: Limits{HeaderBytes: minHeader}}}
			h := v.newHeadConn(&client{Conn: &script{in: b[1:], size: size}}, b[0])
			out, err := io.ReadAll(h)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		small := read(int(size) + 1)
		if len(b) < minHeader && !bytes.Equal(small, read(len(b)+1)) {
			t.Fatalf("%q depends on how it arrives", b)
		}
		for len(small) > 0 {
			end := bytes.Index(small, []byte("\r\n\r\n"))
			if end < 0 {
				t.Fatalf("passed on: %q", small)
			}
			got, refused := checkHead(small[:end+4])
			if refused != nil {
				t.Fatalf("passed on %q: %v", small, refused)
			}
			if got.last {
				break
			}
			small = small[min(int64(len(small)), int64(end+4)+got.body):]
		}
	})
}

// FuzzHead compares with net/http: a head that passes here has the same end of its body
// there, or is refused there.
func FuzzHead(f *testing.F) {
	f.Add([]byte(head("POST http://a/ HTTP/1.1", "Host: a", "Content-Length: 12")))
	f.Add([]byte(head("POST http://a/ HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")))
	f.Add([]byte(head("CONNECT a:1 HTTP/1.1", "Host: a:1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &headConn{in: b}
		end, refused := h.findHead()
		if refused != nil || end == 0 {
			return
		}
		b = h.in[:end]
		got, refused := checkHead(b)
		if refused != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		switch {
		case got.last && r.Method != http.MethodConnect && r.Header.Get("Upgrade") == "" && len(r.TransferEncoding) == 0 && len(r.Header["Upgrade"]) == 0:
			t.Fatalf("last without a reason: %q", b)
		case len(r.TransferEncoding) > 0 && !got.last, max(r.ContentLength, 0) != got.body:
			t.Fatalf("%q: %+v here, %d %v there", b, got, r.ContentLength, r.TransferEncoding)
		}
	})
}
