package http1

import (
	"bufio"
	"fmt"
	"io"
	"net"
)

// Response is the answer to a request. The first Write sends the head.
type Response struct {
	// Type is the content type; empty: plain text.
	Type string
	// Length is how long the body of a success is, for clients that have to notice a cut one;
	// 0: they are not told.
	Length int

	conn    net.Conn
	out     *bufio.Writer
	bare    bool          // HEAD: no body
	begun   bool          // the head is written
	tunnel  *bufio.Reader // what Tunnel returns
	unwatch func()        // nobody but the caller reads the connection when it returns
	taken   bool
}

// NewResponse returns a response that goes to out. Flush sends the end of it.
func NewResponse(out io.Writer) *Response { return &Response{out: bufio.NewWriter(out)} }

// Write writes a part of the body of a success.
func (w *Response) Write(p []byte) (int, error) {
	w.begin(StatusOK, w.length())
	if w.bare {
		return len(p), nil
	}
	return w.out.Write(p)
}

// Flush sends what was written, at least the head.
func (w *Response) Flush() error {
	w.begin(StatusOK, w.length())
	return w.out.Flush()
}

func (w *Response) length() string {
	if w.Length == 0 {
		return ""
	}
	return fmt.Sprintf("Content-Length: %d\r\n", w.Length)
}

// Error answers with a code and a line of text, unless the head is written.
func (w *Response) Error(text string, code int) { w.refuse(text, code, "") }

func (w *Response) refuse(text string, code int, more string) {
	if w.begun {
		return
	}
	w.Type = ""
	w.begin(code, more)
	_, _ = fmt.Fprintln(w, text) // the client has gone: nobody to tell
}

// begin writes the head, with more lines.
func (w *Response) begin(code int, more string) {
	if w.begun {
		return
	}
	w.begun = true
	kind := w.Type
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	_, _ = fmt.Fprintf(w.out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\n%s\r\n", code, reason(code), kind, more)
}

// Tunnel accepts a CONNECT. It returns the connection, which ends with the handler, and a
// reader that also has what was read already. The context of the request no longer tells
// when the client goes.
func (w *Response) Tunnel() (net.Conn, *bufio.Reader, error) {
	w.unwatch()
	w.begun, w.taken = true, true
	_, err := w.conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	return w.conn, w.tunnel, err
}
